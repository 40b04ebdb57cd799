// SPDX-License-Identifier: GPL-2.0-only
/* It takes tasks from a DSQ that it never created. */
#include "failing.bpf.h"

SEC("struct_ops/nodsq_enqueue")
void BPF_PROG(nodsq_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/nodsq_dispatch")
void BPF_PROG(nodsq_dispatch, s32 cpu, struct task_struct *prev)
{
	if (__sync_fetch_and_add(&inserted, 1) > GOOD_INSERTS)
		scx_move_to_local(0xdead);
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/nodsq_init")
s32 BPF_PROG(nodsq_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(nodsq, .enqueue = (void *)nodsq_enqueue, .dispatch = (void *)nodsq_dispatch, .init = (void *)nodsq_init);
