// SPDX-License-Identifier: GPL-2.0-only
/* It inserts into one DSQ now in the order of arrival and now by virtual time. */
#include "failing.bpf.h"

SEC("struct_ops/mixed_enqueue")
void BPF_PROG(mixed_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (fails_with(p))
		scx_insert(p, QUEUE, SLICE_NS, enq_flags);
	else
		scx_bpf_dsq_insert_vtime(p, QUEUE, SLICE_NS, 0, enq_flags);
}

SEC("struct_ops/mixed_dispatch")
void BPF_PROG(mixed_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/mixed_init")
s32 BPF_PROG(mixed_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(mixed, .enqueue = (void *)mixed_enqueue, .dispatch = (void *)mixed_dispatch, .init = (void *)mixed_init);
