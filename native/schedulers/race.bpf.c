// SPDX-License-Identifier: GPL-2.0-only
/*
 * demo:race loses a task now and then, as a real race does. It counts by itself how many tasks wait in DSQ 0x7, without an
 * atomic operation and without a lock: when a CPU counts while another one does, one of the two is forgotten. The queue
 * is taken from its head, where new tasks come in, and only while the count says that there is something. So the task at its
 * end is left lying once the count is too small, until the watchdog ejects the scheduler (exit_kind 1026, ERROR_STALL).
 * Most runs see nothing of it: run it with a seed, and search for a seed that does.
 */
#include "demo.bpf.h"

#include <bpf/bpf_core_read.h>

enum scx_enq_flags { SCX_ENQ_HEAD = 1 << 4 }; // its value is the kernel's own

u64 nr_waiting; // the racy count
u64 nr_most;

SEC("struct_ops/race_select_cpu")
s32 BPF_PROG(race_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;

	return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
}

SEC("struct_ops/race_enqueue")
void BPF_PROG(race_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 waiting;

	if (spared(p, enq_flags))
		return;
	enqueue_on(p, SHARED_DSQ, enq_flags | bpf_core_enum_value(enum scx_enq_flags, SCX_ENQ_HEAD));
	waiting = *(volatile u64 *)&nr_waiting + 1;
	if (waiting > nr_most)
		nr_most = waiting;
	*(volatile u64 *)&nr_waiting = waiting;
}

SEC("struct_ops/race_dispatch")
void BPF_PROG(race_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 waiting = *(volatile u64 *)&nr_waiting;

	if (!waiting) {
		count(COUNT_WITHHELD);
		return;
	}
	*(volatile u64 *)&nr_waiting = waiting - 1;
	dispatch_from(SHARED_DSQ);
}

SEC("struct_ops.s/race_init")
s32 BPF_PROG(race_init)
{
	attached_at_ns = bpf_ktime_get_ns();
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

DEMO_COMMON_OPS(race)

SEC(".struct_ops.link")
struct sched_ext_ops race_ops = {
	.select_cpu = (void *)race_select_cpu,
	.enqueue = (void *)race_enqueue,
	.dispatch = (void *)race_dispatch,
	.running = (void *)race_running,
	.stopping = (void *)race_stopping,
	.init = (void *)race_init,
	.exit = (void *)race_exit,
	.timeout_ms = 2000,
	.name = "race",
};
