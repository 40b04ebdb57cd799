// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks wait in BPF queues, one for each class of weight; the kernel holds none of them. A CPU takes turns: one task
 * of the lightest queue, two of the next, four, eight. A queue holds pids, so a task that is gone by then, or
 * was put elsewhere meanwhile, is only a number: the kernel ignores the insert.
 */
#include "more.bpf.h"

#define CLASSES 4
#define WAITING_MAX 4096
#define TRIES 32
#define SLICE_NS (5 * NSEC_PER_MSEC)

struct waiting {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, WAITING_MAX);
	__type(value, s32); // pid
} lightest SEC(".maps"), light SEC(".maps"), normal SEC(".maps"), heavy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CLASSES);
	__type(key, u32);
	__array(values, struct waiting);
} classes SEC(".maps") = { .values = { &lightest, &light, &normal, &heavy } };

struct turn {
	u32 class;
	u32 left; // tasks before it is the next one's turn
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct turn);
} turns SEC(".maps");

u64 nr_queued[CLASSES];
u64 nr_taken[CLASSES];
u64 nr_overflowed; // the queue was full
u64 nr_gone; // the task had exited

static u32 class_of(u32 weight)
{
	return (weight >= 50) + (weight >= 100) + (weight >= 200);
}

SEC("struct_ops/queues_enqueue")
void BPF_PROG(queues_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 class = class_of(p->scx.weight), key = class;
	void *queue = bpf_map_lookup_elem(&classes, &key);
	s32 pid = p->pid;

	if (scx_kernel_task(p, SLICE_NS, enq_flags))
		return;
	if (!queue || bpf_map_push_elem(queue, &pid, 0)) {
		__sync_fetch_and_add(&nr_overflowed, 1);
		scx_insert(p, SCX_DSQ_GLOBAL, SLICE_NS, enq_flags);
		return;
	}
	__sync_fetch_and_add(&nr_queued[class & (CLASSES - 1)], 1);
	scx_wake_for(p);
}

/* Give a task to this CPU, or to the one it was on when it may not run here. True when it is for this one. */
static bool place(struct task_struct *p, s32 cpu)
{
	bool here = scx_may_run_on(p, cpu);
	s32 there = scx_bpf_task_cpu(p);

	if (here)
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	else if (scx_may_run_on(p, there))
		scx_insert(p, SCX_DSQ_LOCAL_ON | there, SLICE_NS, 0);
	else // its CPUs were changed at this moment
		scx_insert(p, SCX_DSQ_GLOBAL, SLICE_NS, 0);
	return here;
}

/* Take a task of the class whose turn it is. True when this CPU has one. */
static bool take(struct turn *turn, s32 cpu)
{
	u32 class = turn->class & (CLASSES - 1), key = class;
	void *queue = bpf_map_lookup_elem(&classes, &key);
	struct task_struct *p;
	bool here;
	s32 pid;

	if (!queue || bpf_map_pop_elem(queue, &pid)) {
		turn->left = 0;
		return false;
	}
	if (turn->left)
		turn->left--;
	p = bpf_task_from_pid(pid);
	if (!p) {
		__sync_fetch_and_add(&nr_gone, 1);
		return false;
	}
	here = place(p, cpu);
	bpf_task_release(p);
	__sync_fetch_and_add(&nr_taken[class], 1);
	return here;
}

SEC("struct_ops/queues_dispatch")
void BPF_PROG(queues_dispatch, s32 cpu, struct task_struct *prev)
{
	u32 key = 0;
	struct turn *turn = bpf_map_lookup_elem(&turns, &key);

	for (int i = 0; turn && i < TRIES; i++) {
		if (!turn->left) {
			turn->class = (turn->class + 1) % CLASSES;
			turn->left = 1 << turn->class;
		}
		if (take(turn, cpu))
			return;
	}
}

SCX_COMMON_OPS(queues)

SEC(".struct_ops.link")
struct sched_ext_ops queues_ops = {
	.select_cpu = (void *)queues_select_cpu,
	.enqueue = (void *)queues_enqueue,
	.dispatch = (void *)queues_dispatch,
	.exit = (void *)queues_exit,
	.timeout_ms = 5000,
	.name = "queues",
};
