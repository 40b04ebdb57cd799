/* SPDX-License-Identifier: GPL-2.0-only */
/* A queue that is served from time to time only: every SERVE_EVERY_NS, which who includes this defines. */
#ifndef SERVING_BPF_H
#define SERVING_BPF_H

#include "failing.bpf.h"

#define SERVED_AT_ONCE 64

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
	budget = SERVED_AT_ONCE;
	scx_bpf_kick_cpu(0, 0);
	scx_bpf_kick_cpu(1, 0);
	bpf_timer_start(&it->timer, SERVE_EVERY_NS, 0);
	return 0;
}

/* In dispatch: take a task from the queue, as long as it is served. */
static __always_inline void serve_one(void)
{
	if (budget > 0 && scx_move_to_local(QUEUE))
		__sync_fetch_and_sub(&budget, 1);
}

/* In init: make the queue and start the timer. */
static __always_inline s32 start_serving(void)
{
	u32 key = 0;
	struct alarm *it = bpf_map_lookup_elem(&alarms, &key);

	if (!it || bpf_timer_init(&it->timer, &alarms, CLOCK_MONOTONIC))
		return -2;
	bpf_timer_set_callback(&it->timer, serve);
	bpf_timer_start(&it->timer, SERVE_EVERY_NS, 0);
	return scx_bpf_create_dsq(QUEUE, -1);
}

#endif
