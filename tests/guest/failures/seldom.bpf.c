// SPDX-License-Identifier: GPL-2.0-only
/* It serves its queue every few seconds only, and its CPUs are idle meanwhile. No ejection: it is always in time. */
#define SERVE_EVERY_NS (4000 * NSEC_PER_MSEC)
#include "serving.bpf.h"

SEC("struct_ops/seldom_enqueue")
void BPF_PROG(seldom_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, p->flags & PF_KTHREAD ? SCX_DSQ_LOCAL : QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/seldom_dispatch")
void BPF_PROG(seldom_dispatch, s32 cpu, struct task_struct *prev)
{
	serve_one();
}

SEC("struct_ops.s/seldom_init")
s32 BPF_PROG(seldom_init)
{
	return start_serving();
}

OPS(seldom, .enqueue = (void *)seldom_enqueue, .dispatch = (void *)seldom_dispatch,
    .init = (void *)seldom_init, .timeout_ms = 6000);
