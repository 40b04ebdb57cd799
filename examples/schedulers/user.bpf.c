// SPDX-License-Identifier: GPL-2.0-only
/*
 * A program decides. This half sends every task that becomes runnable to it through a ring buffer, takes back a queue of
 * pids in the order in which they shall run, and puts them into one DSQ from which all CPUs take. The program
 * itself cannot wait for its own decision: it runs at once, whatever runs there.
 *
 * When the program has decided it goes to sleep; its CPU then asks for work here and finds the queue filled.
 */
#include "more.bpf.h"
#include "user.h"

#define ORDERED_DSQ 0x50ULL
#define DECIDED_MAX 4096
#define RING_BYTES (256 * 1024)
#define BATCH 16
#define SLICE_NS (5 * NSEC_PER_MSEC)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} undecided SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, DECIDED_MAX);
	__type(value, u32); // pid
} decided SEC(".maps");

const volatile int program_tgid;
u64 nr_sent;
u64 nr_taken;
u64 nr_unsent; // the ring buffer was full: nobody decided

SEC("struct_ops/user_enqueue")
void BPF_PROG(user_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct waiting_task *task;

	if (scx_kernel_task(p, SLICE_NS, enq_flags))
		return;
	if (p->tgid == program_tgid) {
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags | SCX_ENQ_HEAD | SCX_ENQ_PREEMPT);
		return;
	}
	task = bpf_ringbuf_reserve(&undecided, sizeof(*task), 0);
	if (!task) {
		__sync_fetch_and_add(&nr_unsent, 1);
		scx_insert(p, ORDERED_DSQ, SLICE_NS, enq_flags);
		return;
	}
	task->pid = p->pid;
	task->weight = p->scx.weight;
	task->ran_ns = p->se.sum_exec_runtime;
	__sync_fetch_and_add(&nr_sent, 1);
	bpf_ringbuf_submit(task, 0);
}

SEC("struct_ops/user_dispatch")
void BPF_PROG(user_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	u32 pid;

	for (int i = 0; i < BATCH && !bpf_map_pop_elem(&decided, &pid); i++) {
		p = bpf_task_from_pid(pid);
		if (!p)
			continue;
		scx_insert(p, ORDERED_DSQ, SLICE_NS, 0);
		scx_wake_for(p);
		bpf_task_release(p);
		__sync_fetch_and_add(&nr_taken, 1);
	}
	scx_move_to_local(ORDERED_DSQ);
}

SEC("struct_ops.s/user_init")
s32 BPF_PROG(user_init)
{
	return scx_bpf_create_dsq(ORDERED_DSQ, -1);
}

SCX_COMMON_OPS(user)

SEC(".struct_ops.link")
struct sched_ext_ops user_ops = {
	.select_cpu = (void *)user_select_cpu,
	.enqueue = (void *)user_enqueue,
	.dispatch = (void *)user_dispatch,
	.init = (void *)user_init,
	.exit = (void *)user_exit,
	.timeout_ms = 5000,
	.name = "user",
};
