// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small scheduler to begin with: one shared queue, a slice of 2 ms, and a longer one for tasks that were
 * never queued before. It uses native/schedulers/scx_min.bpf.h, so it needs no vmlinux.h and its object loads
 * into every kernel with sched_ext. Counters are plain globals: ktstr-tui shows them in the scheduler's
 * section of a capture.
 */
#include "scx_min.bpf.h"

char _license[] SEC("license") = "GPL";

#define SHARED_DSQ 0x51ULL
#define SLICE_NS (2 * NSEC_PER_MSEC)
#define FIRST_SLICE_NS (8 * NSEC_PER_MSEC)
#define TASKS_MAX 4096

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TASKS_MAX);
	__type(key, u32); // pid
	__type(value, u64); // how often it was queued
} queued SEC(".maps");

u64 nr_enqueued;
u64 nr_first;
u64 nr_dispatched;

SEC("struct_ops/first_select_cpu")
s32 BPF_PROG(first_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;

	return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
}

SEC("struct_ops/first_enqueue")
void BPF_PROG(first_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;
	u64 *count = bpf_map_lookup_elem(&queued, &pid);
	u64 one = 1;

	__sync_fetch_and_add(&nr_enqueued, 1);
	if (count) {
		__sync_fetch_and_add(count, 1);
		scx_insert(p, SHARED_DSQ, SLICE_NS, enq_flags);
		return;
	}
	__sync_fetch_and_add(&nr_first, 1);
	bpf_map_update_elem(&queued, &pid, &one, BPF_ANY);
	scx_insert(p, SHARED_DSQ, FIRST_SLICE_NS, enq_flags);
}

SEC("struct_ops/first_dispatch")
void BPF_PROG(first_dispatch, s32 cpu, struct task_struct *prev)
{
	if (scx_move_to_local(SHARED_DSQ))
		__sync_fetch_and_add(&nr_dispatched, 1);
}

SEC("struct_ops.s/first_init")
s32 BPF_PROG(first_init)
{
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops first_ops = {
	.select_cpu = (void *)first_select_cpu,
	.enqueue = (void *)first_enqueue,
	.dispatch = (void *)first_dispatch,
	.init = (void *)first_init,
	.timeout_ms = 5000,
	.name = "first",
};
