// SPDX-License-Identifier: GPL-2.0-only
/* Every enqueue preempts every CPU: much noise, little progress, no ejection. */
#include "failing.bpf.h"

u64 kicks;

SEC("struct_ops/storm_enqueue")
void BPF_PROG(storm_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, QUEUE, SLICE_NS, enq_flags);
	scx_bpf_kick_cpu(0, SCX_KICK_PREEMPT);
	scx_bpf_kick_cpu(1, SCX_KICK_PREEMPT);
	__sync_fetch_and_add(&kicks, 2);
}

SEC("struct_ops/storm_dispatch")
void BPF_PROG(storm_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/storm_init")
s32 BPF_PROG(storm_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(storm, .enqueue = (void *)storm_enqueue, .dispatch = (void *)storm_dispatch, .init = (void *)storm_init,
    .timeout_ms = 20000);
