// SPDX-License-Identifier: GPL-2.0-only
/* It puts the tasks that may run on CPU 1 only into a queue that only CPU 0 serves. */
#include "failing.bpf.h"

SEC("struct_ops/wrongcpu_enqueue")
void BPF_PROG(wrongcpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool is_pinned = p->nr_cpus_allowed == 1 && scx_bpf_task_cpu(p) == 1;

	scx_insert(p, is_pinned && fails_with(p) ? QUEUE : SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/wrongcpu_dispatch")
void BPF_PROG(wrongcpu_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu == 0)
		scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/wrongcpu_init")
s32 BPF_PROG(wrongcpu_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(wrongcpu, .enqueue = (void *)wrongcpu_enqueue, .dispatch = (void *)wrongcpu_dispatch,
    .init = (void *)wrongcpu_init, .timeout_ms = 4000);
