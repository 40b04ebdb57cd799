/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the demo schedulers have in common: a shared queue and a record of what they did.
 *
 * The record is made to be looked at from outside: counters per CPU, a table of tasks whose values hold an
 * enum and arrays, plain globals.
 */
#ifndef DEMO_BPF_H
#define DEMO_BPF_H

#include "scx_min.bpf.h"

#define SHARED_DSQ 0x7ULL
#define TASKS_MAX 4096
#define CPU_HISTORY 4

char _license[] SEC("license") = "GPL";

enum demo_counter {
	COUNT_ENQUEUED,
	COUNT_DISPATCHED,
	COUNT_EMPTY, // dispatch found no task
	COUNT_WITHHELD, // dispatch was asked and refused on purpose
	COUNT_NR,
};

enum task_phase {
	PHASE_QUEUED = 1,
	PHASE_RUNNING = 2,
	PHASE_STOPPED = 3,
};

struct task_record {
	char comm[TASK_COMM_LEN];
	enum task_phase phase;
	u32 runs;
	u64 queued_at_ns;
	u64 run_at_ns;
	u64 total_run_ns;
	s32 cpu_history[CPU_HISTORY]; // newest at (runs - 1) % CPU_HISTORY
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_NR);
	__type(key, u32);
	__type(value, u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TASKS_MAX);
	__type(key, u32); // pid
	__type(value, struct task_record);
} tasks SEC(".maps");

const volatile u64 slice_ns = 5 * NSEC_PER_MSEC;
u64 attached_at_ns;
u64 nr_enqueued;
u64 nr_dispatched;
u64 nr_unrecorded; // the task table was full
enum scx_exit_kind exit_kind;
char exit_message[128];

static __always_inline void count(u32 counter)
{
	u64 *slot = bpf_map_lookup_elem(&counters, &counter);

	if (slot)
		(*slot)++;
}

static __always_inline void record_queued(struct task_struct *p)
{
	u32 pid = p->pid;
	struct task_record *record = bpf_map_lookup_elem(&tasks, &pid);

	if (!record) {
		struct task_record fresh = {};

		bpf_probe_read_kernel_str(fresh.comm, sizeof(fresh.comm), p->comm);
		bpf_map_update_elem(&tasks, &pid, &fresh, BPF_NOEXIST);
		record = bpf_map_lookup_elem(&tasks, &pid);
	}
	if (!record) {
		__sync_fetch_and_add(&nr_unrecorded, 1);
		return;
	}
	record->phase = PHASE_QUEUED;
	record->queued_at_ns = bpf_ktime_get_ns();
}

static __always_inline void record_running(struct task_struct *p)
{
	u32 pid = p->pid;
	struct task_record *record = bpf_map_lookup_elem(&tasks, &pid);

	if (!record)
		return;
	record->phase = PHASE_RUNNING;
	record->run_at_ns = bpf_ktime_get_ns();
	record->cpu_history[record->runs % CPU_HISTORY] = scx_bpf_task_cpu(p);
	record->runs++;
}

static __always_inline void record_stopped(struct task_struct *p)
{
	u32 pid = p->pid;
	struct task_record *record = bpf_map_lookup_elem(&tasks, &pid);

	if (!record)
		return;
	record->phase = PHASE_STOPPED;
	record->total_run_ns += bpf_ktime_get_ns() - record->run_at_ns;
}

static __always_inline void enqueue_on(struct task_struct *p, u64 dsq_id, u64 enq_flags)
{
	count(COUNT_ENQUEUED);
	__sync_fetch_and_add(&nr_enqueued, 1);
	record_queued(p);
	scx_insert(p, dsq_id, slice_ns, enq_flags);
}

// Tasks of the kernel go straight to their CPU. A demo that harms its tasks spares these, among them the one
// that runs the watchdog's checks: that way the kernel can say which task waited too long.
static __always_inline bool spared(struct task_struct *p, u64 enq_flags)
{
	if (!(p->flags & PF_KTHREAD))
		return false;
	enqueue_on(p, SCX_DSQ_LOCAL, enq_flags);
	return true;
}

static __always_inline bool dispatch_from(u64 dsq_id)
{
	if (!scx_move_to_local(dsq_id)) {
		count(COUNT_EMPTY);
		return false;
	}
	count(COUNT_DISPATCHED);
	__sync_fetch_and_add(&nr_dispatched, 1);
	return true;
}

static __always_inline void record_exit(struct scx_exit_info *info)
{
	exit_kind = info->kind;
	bpf_probe_read_kernel_str(exit_message, sizeof(exit_message), info->msg);
}

/* The callbacks that all demos share, under names of their own so that a stack or a program list tells them apart. */
#define DEMO_COMMON_OPS(name)                                                \
	SEC("struct_ops/" #name "_running")                                  \
	void BPF_PROG(name##_running, struct task_struct *p)                 \
	{                                                                    \
		record_running(p);                                           \
	}                                                                    \
	SEC("struct_ops/" #name "_stopping")                                 \
	void BPF_PROG(name##_stopping, struct task_struct *p, bool runnable) \
	{                                                                    \
		record_stopped(p);                                           \
	}                                                                    \
	SEC("struct_ops/" #name "_exit")                                     \
	void BPF_PROG(name##_exit, struct scx_exit_info *info)               \
	{                                                                    \
		record_exit(info);                                           \
	}

#endif
