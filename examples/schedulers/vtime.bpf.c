// SPDX-License-Identifier: GPL-2.0-only
/*
 * Weighted fair shares: one shared DSQ, ordered by virtual time. A task that ran is charged what it used, divided by its
 * weight, so a heavy task comes back to the front sooner. A task that slept gets at most one slice of advantage.
 */
#include "more.bpf.h"

#define FAIR_DSQ 0x30ULL
#define SLICE_NS (5 * NSEC_PER_MSEC)

/*
 * Since Linux 6.19 the insert by virtual time takes its arguments in a struct, because a BPF program passes at most
 * five, and dsq_vtime is set by a kfunc. scx_bpf_dsq_insert_vtime() before it, and a plain store, are for older
 * kernels; which of them a kernel has is asked by name.
 */
struct scx_bpf_dsq_insert_vtime_args {
	u64 dsq_id;
	u64 slice;
	u64 vtime;
	u64 enq_flags;
} __attribute__((preserve_access_index));

extern bool __scx_bpf_dsq_insert_vtime(struct task_struct *p,
				       struct scx_bpf_dsq_insert_vtime_args *args) __ksym __weak;
extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice, u64 vtime,
				     u64 enq_flags) __ksym __weak;
extern bool scx_bpf_task_set_dsq_vtime(struct task_struct *p, u64 vtime) __ksym __weak;

u64 vtime_now; // of the task that began to run last
u64 nr_enqueued;
u64 nr_dispatched;

static bool before(u64 a, u64 b)
{
	return (__s64)(a - b) < 0;
}

static void set_vtime(struct task_struct *p, u64 vtime)
{
	if (bpf_ksym_exists(scx_bpf_task_set_dsq_vtime))
		scx_bpf_task_set_dsq_vtime(p, vtime);
	else
		p->scx.dsq_vtime = vtime;
}

static void insert(struct task_struct *p, u64 vtime, u64 enq_flags)
{
	struct scx_bpf_dsq_insert_vtime_args args = {
		.dsq_id = FAIR_DSQ, .slice = SLICE_NS, .vtime = vtime, .enq_flags = enq_flags
	};

	if (bpf_ksym_exists(__scx_bpf_dsq_insert_vtime))
		__scx_bpf_dsq_insert_vtime(p, &args);
	else
		scx_bpf_dsq_insert_vtime(p, FAIR_DSQ, SLICE_NS, vtime, enq_flags);
}

SEC("struct_ops/vtime_enqueue")
void BPF_PROG(vtime_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 earliest = vtime_now - SLICE_NS;
	u64 vtime = p->scx.dsq_vtime;

	if (scx_kernel_task(p, SLICE_NS, enq_flags))
		return;
	insert(p, before(vtime, earliest) ? earliest : vtime, enq_flags);
	__sync_fetch_and_add(&nr_enqueued, 1);
	scx_wake_for(p);
}

SEC("struct_ops/vtime_dispatch")
void BPF_PROG(vtime_dispatch, s32 cpu, struct task_struct *prev)
{
	if (scx_move_to_local(FAIR_DSQ))
		__sync_fetch_and_add(&nr_dispatched, 1);
}

SEC("struct_ops/vtime_running")
void BPF_PROG(vtime_running, struct task_struct *p)
{
	if (before(vtime_now, p->scx.dsq_vtime))
		vtime_now = p->scx.dsq_vtime;
}

SEC("struct_ops/vtime_stopping")
void BPF_PROG(vtime_stopping, struct task_struct *p, bool runnable)
{
	u64 used_ns = p->scx.slice < SLICE_NS ? SLICE_NS - p->scx.slice : 0;

	if (p->scx.weight)
		set_vtime(p, p->scx.dsq_vtime + used_ns * 100 / p->scx.weight);
}

SEC("struct_ops/vtime_enable")
void BPF_PROG(vtime_enable, struct task_struct *p)
{
	set_vtime(p, vtime_now);
}

SEC("struct_ops.s/vtime_init")
s32 BPF_PROG(vtime_init)
{
	return scx_bpf_create_dsq(FAIR_DSQ, -1);
}

SCX_COMMON_OPS(vtime)

SEC(".struct_ops.link")
struct sched_ext_ops vtime_ops = {
	.select_cpu = (void *)vtime_select_cpu,
	.enqueue = (void *)vtime_enqueue,
	.dispatch = (void *)vtime_dispatch,
	.running = (void *)vtime_running,
	.stopping = (void *)vtime_stopping,
	.enable = (void *)vtime_enable,
	.init = (void *)vtime_init,
	.exit = (void *)vtime_exit,
	.timeout_ms = 5000,
	.name = "vtime",
};
