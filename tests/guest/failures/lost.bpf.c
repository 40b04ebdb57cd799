// SPDX-License-Identifier: GPL-2.0-only
/* It forgets a task: in no DSQ, and nobody remembers it. */
#include "failing.bpf.h"

SEC("struct_ops/lost_enqueue")
void BPF_PROG(lost_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (IS_WORKER(p, "mixed") && fails_with(p))
		return;
	scx_insert(p, QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/lost_dispatch")
void BPF_PROG(lost_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/lost_init")
s32 BPF_PROG(lost_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(lost, .enqueue = (void *)lost_enqueue, .dispatch = (void *)lost_dispatch, .init = (void *)lost_init,
    .timeout_ms = 4000);
