// SPDX-License-Identifier: GPL-2.0-only
/*
 * One CPU decides for all. The others ask for work by setting `wants` and kicking the central CPU, which takes a task
 * from one BPF queue and puts it into their local DSQ. Slices are infinite; a timer takes the CPU away from tasks
 * that have run long enough while others wait. Only the central CPU looks at the queue.
 */
#include "more.bpf.h"

#define CENTRAL_CPU 0
#define WAITING_MAX 4096
#define TRIES 16
#define SLICE_NS (10 * NSEC_PER_MSEC)
#define TIMER_NS (5 * NSEC_PER_MSEC)
#define KTHREAD_SLICE_NS (20 * NSEC_PER_MSEC)

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, WAITING_MAX);
	__type(value, s32); // pid
} waiting SEC(".maps");

struct preempt_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct preempt_timer);
} timers SEC(".maps");

u32 wants[CPUS_MAX]; // the CPU found nothing to run
u64 running_since_ns[CPUS_MAX]; // 0: nothing
__s64 nr_waiting;
u64 nr_served;
u64 nr_preempted;
u64 nr_put_back; // may not run on the CPU that asked
u64 nr_overflowed;

static void kick_central(void)
{
	scx_bpf_kick_cpu(CENTRAL_CPU, SCX_KICK_PREEMPT);
}

SEC("struct_ops/central_select_cpu")
s32 BPF_PROG(central_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return prev_cpu; // where it is woken does not matter: it will run where the central CPU puts it
}

SEC("struct_ops/central_enqueue")
void BPF_PROG(central_enqueue, struct task_struct *p, u64 enq_flags)
{
	s32 pid = p->pid;

	if (scx_kernel_task(p, KTHREAD_SLICE_NS, enq_flags | SCX_ENQ_PREEMPT))
		return;
	if (bpf_map_push_elem(&waiting, &pid, 0)) {
		__sync_fetch_and_add(&nr_overflowed, 1);
		scx_insert(p, SCX_DSQ_GLOBAL, SLICE_NS, enq_flags);
		return;
	}
	__sync_fetch_and_add(&nr_waiting, 1);
	kick_central();
}

/* Put the first waiting task that may run there into the local DSQ of a CPU. */
static bool serve(s32 cpu)
{
	struct task_struct *p;
	s32 pid;

	for (int i = 0; i < TRIES; i++) {
		if (bpf_map_pop_elem(&waiting, &pid))
			return false;
		p = bpf_task_from_pid(pid);
		if (!p) {
			__sync_fetch_and_add(&nr_waiting, -1);
			continue;
		}
		if (scx_may_run_on(p, cpu)) {
			scx_insert(p, SCX_DSQ_LOCAL_ON | cpu, SCX_SLICE_INF, 0);
			bpf_task_release(p);
			__sync_fetch_and_add(&nr_waiting, -1);
			__sync_fetch_and_add(&nr_served, 1);
			return true;
		}
		bpf_task_release(p);
		bpf_map_push_elem(&waiting, &pid, 0); // there is room: it was just taken out
		__sync_fetch_and_add(&nr_put_back, 1);
	}
	return false;
}

static long serve_one(u32 cpu, void *context)
{
	if (cpu >= CPUS_MAX || !wants[cpu] || cpu == CENTRAL_CPU)
		return 0;
	if (serve(cpu))
		wants[cpu] = 0;
	return nr_waiting <= 0;
}

SEC("struct_ops/central_dispatch")
void BPF_PROG(central_dispatch, s32 cpu, struct task_struct *prev)
{
	if (cpu < 0 || cpu >= CPUS_MAX)
		return;
	if (cpu != CENTRAL_CPU) {
		wants[cpu] = 1;
		kick_central();
		return;
	}
	bpf_loop(scx_bpf_nr_cpu_ids(), serve_one, NULL, 0);
	serve(CENTRAL_CPU);
}

SEC("struct_ops/central_running")
void BPF_PROG(central_running, struct task_struct *p)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (cpu >= 0 && cpu < CPUS_MAX)
		running_since_ns[cpu] = bpf_ktime_get_ns();
}

SEC("struct_ops/central_stopping")
void BPF_PROG(central_stopping, struct task_struct *p, bool runnable)
{
	s32 cpu = scx_bpf_task_cpu(p);

	if (cpu >= 0 && cpu < CPUS_MAX)
		running_since_ns[cpu] = 0;
}

static long preempt_one(u32 cpu, u64 *now_ns)
{
	u64 since_ns = cpu < CPUS_MAX ? running_since_ns[cpu] : 0;

	if (since_ns && *now_ns > since_ns + SLICE_NS) {
		__sync_fetch_and_add(&nr_preempted, 1);
		scx_bpf_kick_cpu(cpu, SCX_KICK_PREEMPT);
	}
	return 0;
}

static int preempt(void *map, u32 *key, struct preempt_timer *entry)
{
	u64 now_ns = bpf_ktime_get_ns();

	if (nr_waiting > 0)
		bpf_loop(scx_bpf_nr_cpu_ids(), preempt_one, &now_ns, 0);
	bpf_timer_start(&entry->timer, TIMER_NS, 0);
	return 0;
}

SEC("struct_ops.s/central_init")
s32 BPF_PROG(central_init)
{
	u32 key = 0;
	struct preempt_timer *entry = bpf_map_lookup_elem(&timers, &key);
	s32 err;

	if (!entry)
		return -2; // ENOENT: an array has its entries always
	err = bpf_timer_init(&entry->timer, &timers, CLOCK_MONOTONIC);
	if (err)
		return err;
	bpf_timer_set_callback(&entry->timer, preempt);
	return bpf_timer_start(&entry->timer, TIMER_NS, 0);
}

SEC("struct_ops/central_exit")
void BPF_PROG(central_exit, struct scx_exit_info *info)
{
	scx_record_exit(info);
}

SEC(".struct_ops.link")
struct sched_ext_ops central_ops = {
	.select_cpu = (void *)central_select_cpu,
	.enqueue = (void *)central_enqueue,
	.dispatch = (void *)central_dispatch,
	.running = (void *)central_running,
	.stopping = (void *)central_stopping,
	.init = (void *)central_init,
	.exit = (void *)central_exit,
	.timeout_ms = 5000,
	.name = "central",
};
