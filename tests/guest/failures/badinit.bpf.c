// SPDX-License-Identifier: GPL-2.0-only
/* Its ops.init_task() returns a number that is no errno for a task that is being forked. */
#include "failing.bpf.h"

bool is_enabled;

SEC("struct_ops.s/badinit_init_task")
s32 BPF_PROG(badinit_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	return is_enabled ? 7 : 0;
}

SEC("struct_ops/badinit_enqueue")
void BPF_PROG(badinit_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (fails_with(p))
		is_enabled = true;
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

OPS(badinit, .init_task = (void *)badinit_init_task, .enqueue = (void *)badinit_enqueue);
