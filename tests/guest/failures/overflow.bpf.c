// SPDX-License-Identifier: GPL-2.0-only
/* It inserts more tasks in one ops.dispatch() than dispatch_max_batch allows. */
#include "failing.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4096);
	__type(value, u32);
} waiting SEC(".maps");

SEC("struct_ops/overflow_enqueue")
void BPF_PROG(overflow_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;

	if (!may_run_anywhere(p) || bpf_map_push_elem(&waiting, &pid, 0))
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/overflow_dispatch")
void BPF_PROG(overflow_dispatch, s32 cpu, struct task_struct *prev)
{
	bool is_greedy = inserted >= GOOD_INSERTS;
	struct task_struct *p;
	u32 pid;
	int i;

	for (i = 0; i < 8 && !bpf_map_pop_elem(&waiting, &pid); i++) {
		p = bpf_task_from_pid(pid);
		if (!p)
			continue;
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
		bpf_task_release(p);
		__sync_fetch_and_add(&inserted, 1);
		if (!is_greedy)
			break;
	}
}

OPS(overflow, .enqueue = (void *)overflow_enqueue, .dispatch = (void *)overflow_dispatch,
    .dispatch_max_batch = 1);
