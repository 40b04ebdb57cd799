// SPDX-License-Identifier: GPL-2.0-only
/*
 * demo:stall is demo:fifo with a defect: after stall_after_ns it no longer dispatches. Tasks pile up in DSQ
 * 0x7. The watchdog looks every half timeout_ms, so 3.0 to 4.5 s later it finds one that waited for longer than
 * timeout_ms and ejects the scheduler (exit_kind 1026, ERROR_STALL).
 */
#include "demo.bpf.h"

const volatile u64 stall_after_ns = 1000 * NSEC_PER_MSEC;
u64 stalled_at_ns;

SEC("struct_ops/stall_select_cpu")
s32 BPF_PROG(stall_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	bool is_idle = false;

	return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);
}

SEC("struct_ops/stall_enqueue")
void BPF_PROG(stall_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (!spared(p, enq_flags))
		enqueue_on(p, SHARED_DSQ, enq_flags);
}

SEC("struct_ops/stall_dispatch")
void BPF_PROG(stall_dispatch, s32 cpu, struct task_struct *prev)
{
	u64 now_ns = bpf_ktime_get_ns();

	if (now_ns - attached_at_ns < stall_after_ns) {
		dispatch_from(SHARED_DSQ);
		return;
	}
	if (!stalled_at_ns)
		stalled_at_ns = now_ns;
	count(COUNT_WITHHELD);
}

SEC("struct_ops.s/stall_init")
s32 BPF_PROG(stall_init)
{
	attached_at_ns = bpf_ktime_get_ns();
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

DEMO_COMMON_OPS(stall)

SEC(".struct_ops.link")
struct sched_ext_ops stall_ops = {
	.select_cpu = (void *)stall_select_cpu,
	.enqueue = (void *)stall_enqueue,
	.dispatch = (void *)stall_dispatch,
	.running = (void *)stall_running,
	.stopping = (void *)stall_stopping,
	.init = (void *)stall_init,
	.exit = (void *)stall_exit,
	.timeout_ms = 3000,
	.name = "stall",
};
