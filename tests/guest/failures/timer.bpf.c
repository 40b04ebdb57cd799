// SPDX-License-Identifier: GPL-2.0-only
/* All its dispatching hangs on a BPF timer, which stops arming itself; the tasks wait in a BPF queue. */
#include "failing.bpf.h"

#define TICK_NS (10 * NSEC_PER_MSEC)
#define TICKS 60

struct tick {
	struct bpf_timer timer;
	u64 fired;
	u64 last_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tick);
} ticks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__type(value, u32);
} parked SEC(".maps");
u64 budget;

SEC("struct_ops/timer_enqueue")
void BPF_PROG(timer_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 pid = p->pid;

	if (!may_run_anywhere(p) || bpf_map_push_elem(&parked, &pid, 0))
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/timer_dispatch")
void BPF_PROG(timer_dispatch, s32 cpu, struct task_struct *prev)
{
	struct task_struct *p;
	u32 pid;

	if (!budget || bpf_map_pop_elem(&parked, &pid))
		return;
	p = bpf_task_from_pid(pid);
	if (!p)
		return;
	__sync_fetch_and_sub(&budget, 1);
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, 0);
	bpf_task_release(p);
}

static int tick(void *map, u32 *key, struct tick *it)
{
	budget = 200;
	it->fired++;
	it->last_ns = bpf_ktime_get_ns();
	scx_bpf_kick_cpu(0, 0);
	scx_bpf_kick_cpu(1, 0);
	if (it->fired < TICKS)
		bpf_timer_start(&it->timer, TICK_NS, 0);
	return 0;
}

SEC("struct_ops.s/timer_init")
s32 BPF_PROG(timer_init)
{
	u32 key = 0;
	struct tick *it = bpf_map_lookup_elem(&ticks, &key);

	if (!it || bpf_timer_init(&it->timer, &ticks, CLOCK_MONOTONIC))
		return -2;
	bpf_timer_set_callback(&it->timer, tick);
	return bpf_timer_start(&it->timer, TICK_NS, 0);
}

OPS(timer, .enqueue = (void *)timer_enqueue, .dispatch = (void *)timer_dispatch, .init = (void *)timer_init,
    .timeout_ms = 4000);
