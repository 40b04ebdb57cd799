// SPDX-License-Identifier: GPL-2.0-only
/* One task is served every few seconds only, while others share the CPUs. No ejection: it is always in time. */
#include "failing.bpf.h"

#define SERVE_EVERY_NS (3500 * NSEC_PER_MSEC)

s32 budget;

struct alarm {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

static int serve(void *map, u32 *key, struct alarm *it)
{
	budget = 64;
	bpf_timer_start(&it->timer, SERVE_EVERY_NS, 0);
	return 0;
}

SEC("struct_ops/unfair_enqueue")
void BPF_PROG(unfair_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, IS_WORKER(p, "mixed") ? QUEUE : SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/unfair_dispatch")
void BPF_PROG(unfair_dispatch, s32 cpu, struct task_struct *prev)
{
	if (budget > 0 && scx_move_to_local(QUEUE))
		__sync_fetch_and_sub(&budget, 1);
}

SEC("struct_ops.s/unfair_init")
s32 BPF_PROG(unfair_init)
{
	u32 key = 0;
	struct alarm *it = bpf_map_lookup_elem(&alarms, &key);

	if (!it || bpf_timer_init(&it->timer, &alarms, CLOCK_MONOTONIC))
		return -2;
	bpf_timer_set_callback(&it->timer, serve);
	bpf_timer_start(&it->timer, SERVE_EVERY_NS, 0);
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(unfair, .enqueue = (void *)unfair_enqueue, .dispatch = (void *)unfair_dispatch,
    .init = (void *)unfair_init, .timeout_ms = 6000);
