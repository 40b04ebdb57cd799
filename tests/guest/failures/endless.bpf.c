// SPDX-License-Identifier: GPL-2.0-only
/* A task with an infinite slice keeps its CPU, and the next in the queue of this CPU waits. */
#include "failing.bpf.h"

SEC("struct_ops/endless_enqueue")
void BPF_PROG(endless_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool is_endless = p->nr_cpus_allowed == 1 && IS_WORKER(p, "spin");

	// The kworkers that run the watchdog are not bound to a CPU: another one takes them.
	if (p->flags & PF_KTHREAD)
		scx_insert(p, p->nr_cpus_allowed == 1 ? SCX_DSQ_LOCAL : QUEUE, SLICE_NS, enq_flags);
	else
		scx_insert(p, PER_CPU + scx_bpf_task_cpu(p), is_endless ? SLICE_INF : SLICE_NS, enq_flags);
}

SEC("struct_ops/endless_dispatch")
void BPF_PROG(endless_dispatch, s32 cpu, struct task_struct *prev)
{
	if (!scx_move_to_local(QUEUE))
		scx_move_to_local(PER_CPU + cpu);
}

SEC("struct_ops.s/endless_init")
s32 BPF_PROG(endless_init)
{
	return scx_bpf_create_dsq(QUEUE, -1) ?: create_per_cpu();
}

OPS(endless, .enqueue = (void *)endless_enqueue, .dispatch = (void *)endless_dispatch,
    .init = (void *)endless_init, .timeout_ms = 4000);
