// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scheduler that ends itself and asks to be loaded again, as many do when CPUs come or go. The exit code carries
 * SCX_ECODE_ACT_RESTART for the kernel's users, the lower half is the scheduler's own. Its program, restart.c,
 * loads it once more with another slice.
 */
#include "more.bpf.h"

#define SHARED_DSQ 0x60ULL
#define SCX_ECODE_ACT_RESTART (1ULL << 48)
#define CODE_NEXT_SLICE 7

extern void scx_bpf_exit_bstr(__s64 exit_code, char *format, unsigned long long *data, u32 data__sz) __ksym;

const volatile u64 slice_ns = 5 * NSEC_PER_MSEC;
const volatile u64 live_ns; // 0: until it is asked to end
u64 attached_at_ns;
u64 nr_enqueued;

SEC("struct_ops/restart_enqueue")
void BPF_PROG(restart_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (scx_kernel_task(p, slice_ns, enq_flags))
		return;
	__sync_fetch_and_add(&nr_enqueued, 1);
	scx_insert(p, SHARED_DSQ, slice_ns, enq_flags);
	scx_wake_for(p);
}

SEC("struct_ops/restart_dispatch")
void BPF_PROG(restart_dispatch, s32 cpu, struct task_struct *prev)
{
	static char format[] = "next slice after %llu enqueues";
	unsigned long long data[] = { nr_enqueued };

	scx_move_to_local(SHARED_DSQ);
	if (live_ns && bpf_ktime_get_ns() - attached_at_ns > live_ns)
		scx_bpf_exit_bstr(SCX_ECODE_ACT_RESTART | CODE_NEXT_SLICE, format, data, sizeof(data));
}

SEC("struct_ops.s/restart_init")
s32 BPF_PROG(restart_init)
{
	attached_at_ns = bpf_ktime_get_ns();
	return scx_bpf_create_dsq(SHARED_DSQ, -1);
}

SCX_COMMON_OPS(restart)

SEC(".struct_ops.link")
struct sched_ext_ops restart_ops = {
	.select_cpu = (void *)restart_select_cpu,
	.enqueue = (void *)restart_enqueue,
	.dispatch = (void *)restart_dispatch,
	.init = (void *)restart_init,
	.exit = (void *)restart_exit,
	.timeout_ms = 5000,
	.name = "restart",
};
