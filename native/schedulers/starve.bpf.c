// SPDX-License-Identifier: GPL-2.0-only
/*
 * demo:starve stays loaded and is unhealthy: the last CPU's tasks are served far too rarely.
 *
 * Tasks stay on the CPU they were on. Those of the last CPU wait in a queue of their own (DSQ 0x13) that is
 * emptied once per serve_every_ns; all others share DSQ 0x7 and fare well. The oldest task of the last CPU is
 * therefore always about serve_every_ns old, well above what is healthy and well below timeout_ms, so the
 * watchdog has no reason to act. Nothing wakes a CPU whose dispatch found nothing, hence the timer.
 */
#include "demo.bpf.h"

#define STARVED_DSQ 0x13ULL
#define BATCH_MAX 32
#define SCX_KICK_PREEMPT 2

const volatile u64 serve_every_ns = 6000 * NSEC_PER_MSEC;
u64 served_at_ns;
u64 nr_servings;
bool due; // set by the timer, cleared by the dispatch that serves
s32 starved_cpu;

struct serve_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct serve_timer);
} serve_timers SEC(".maps");

SEC("struct_ops/starve_select_cpu")
s32 BPF_PROG(starve_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu;
}

SEC("struct_ops/starve_enqueue")
void BPF_PROG(starve_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (spared(p, enq_flags))
		return;
	enqueue_on(p, scx_bpf_task_cpu(p) == starved_cpu ? STARVED_DSQ : SHARED_DSQ, enq_flags);
}

SEC("struct_ops/starve_dispatch")
void BPF_PROG(starve_dispatch, s32 cpu, struct task_struct *prev)
{
	int i;

	if (cpu != starved_cpu) {
		dispatch_from(SHARED_DSQ);
		return;
	}
	if (!due) {
		count(COUNT_WITHHELD);
		return;
	}
	due = false;
	served_at_ns = bpf_ktime_get_ns();
	nr_servings++;
	for (i = 0; i < BATCH_MAX; i++) {
		if (!dispatch_from(STARVED_DSQ))
			break;
	}
}

static int serve(void *map, u32 *key, struct serve_timer *entry)
{
	due = true;
	scx_bpf_kick_cpu(starved_cpu, SCX_KICK_PREEMPT);
	bpf_timer_start(&entry->timer, serve_every_ns, 0);
	return 0;
}

SEC("struct_ops.s/starve_init")
s32 BPF_PROG(starve_init)
{
	u32 key = 0;
	struct serve_timer *entry = bpf_map_lookup_elem(&serve_timers, &key);
	s32 err;

	if (!entry)
		return -2; // ENOENT: an array has its entries always
	attached_at_ns = bpf_ktime_get_ns();
	starved_cpu = scx_bpf_nr_cpu_ids() - 1;
	err = scx_bpf_create_dsq(SHARED_DSQ, -1);
	if (err)
		return err;
	err = scx_bpf_create_dsq(STARVED_DSQ, -1);
	if (err)
		return err;
	err = bpf_timer_init(&entry->timer, &serve_timers, CLOCK_MONOTONIC);
	if (err)
		return err;
	bpf_timer_set_callback(&entry->timer, serve);
	return bpf_timer_start(&entry->timer, serve_every_ns, 0);
}

DEMO_COMMON_OPS(starve)

SEC(".struct_ops.link")
struct sched_ext_ops starve_ops = {
	.select_cpu = (void *)starve_select_cpu,
	.enqueue = (void *)starve_enqueue,
	.dispatch = (void *)starve_dispatch,
	.running = (void *)starve_running,
	.stopping = (void *)starve_stopping,
	.init = (void *)starve_init,
	.exit = (void *)starve_exit,
	.timeout_ms = 10000,
	.name = "starve",
};
