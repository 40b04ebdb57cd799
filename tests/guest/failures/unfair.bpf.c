// SPDX-License-Identifier: GPL-2.0-only
/* One task is served every few seconds only, while others share the CPUs. No ejection: it is always in time. */
#define SERVE_EVERY_NS (3500 * NSEC_PER_MSEC)
#include "serving.bpf.h"

SEC("struct_ops/unfair_enqueue")
void BPF_PROG(unfair_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, IS_WORKER(p, "mixed") ? QUEUE : SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/unfair_dispatch")
void BPF_PROG(unfair_dispatch, s32 cpu, struct task_struct *prev)
{
	serve_one();
}

SEC("struct_ops.s/unfair_init")
s32 BPF_PROG(unfair_init)
{
	return start_serving();
}

OPS(unfair, .enqueue = (void *)unfair_enqueue, .dispatch = (void *)unfair_dispatch,
    .init = (void *)unfair_init, .timeout_ms = 6000);
