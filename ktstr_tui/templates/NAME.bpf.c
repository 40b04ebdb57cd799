// SPDX-License-Identifier: GPL-2.0-only
/*
 * NAME: every task waits in one shared queue (DSQ 0x7), and every CPU takes the oldest.
 *
 * scx_min.bpf.h has the part of sched_ext that is used here, so that no vmlinux.h is needed and one object loads into
 * kernels that differ. demo.bpf.h counts what is queued and dispatched and keeps a record of each task; captures show
 * both. All three files are yours to change.
 */
#include "demo.bpf.h"

#define SLICE_NS (5 * NSEC_PER_MSEC)

/* A task wakes up: which CPU may it run on? The kernel's own choice prefers an idle one. */
SEC("struct_ops/NAME_select_cpu")
s32 BPF_PROG(NAME_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;

	return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
}

/* A task can run and no CPU has it: where does it wait, and for how long may it run then? */
SEC("struct_ops/NAME_enqueue")
void BPF_PROG(NAME_enqueue, struct task_struct *p, u64 enq_flags)
{
	count(COUNT_ENQUEUED);
	__sync_fetch_and_add(&nr_enqueued, 1);
	record_queued(p);
	scx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
}

/* A CPU has nothing to run: which task does it take? */
SEC("struct_ops/NAME_dispatch")
void BPF_PROG(NAME_dispatch, s32 cpu, struct task_struct *prev)
{
	dispatch_from(SHARED_DSQ);
}

SEC("struct_ops.s/NAME_init")
s32 BPF_PROG(NAME_init)
{
	attached_at_ns = bpf_ktime_get_ns();
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

DEMO_COMMON_OPS(NAME)

/* The kernel ejects a scheduler that lets a task wait for longer than timeout_ms. */
SEC(".struct_ops.link")
struct sched_ext_ops NAME_ops = {
	.select_cpu = (void *)NAME_select_cpu,
	.enqueue = (void *)NAME_enqueue,
	.dispatch = (void *)NAME_dispatch,
	.running = (void *)NAME_running,
	.stopping = (void *)NAME_stopping,
	.init = (void *)NAME_init,
	.exit = (void *)NAME_exit,
	.timeout_ms = 5000,
	.name = "NAME",
};
