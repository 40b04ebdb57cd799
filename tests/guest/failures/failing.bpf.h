/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the failing schedulers of the gallery have in common: each is the smallest scheduler that works, with one mistake.
 *
 * Tasks of the kernel are spared, so that the watchdog and the workers of the guest program go on. The mistake is made
 * after some good inserts, so that a scheduler was enabled and had tasks before it fails.
 */
#ifndef FAILING_BPF_H
#define FAILING_BPF_H

#include "scx_min.bpf.h"

#define QUEUE 0x51ULL
#define PER_CPU 0x200ULL // and the number of the CPU
#define MAX_CPUS 8
#define SLICE_NS (5 * NSEC_PER_MSEC)
#define SLICE_INF (~0ULL)
#define SCX_DSQ_LOCAL_ON 0xC000000000000000ULL
#define SCX_KICK_PREEMPT 2
#define GOOD_INSERTS 20
#define NO_SUCH_CPU 999

char _license[] SEC("license") = "GPL";
u64 inserted;

extern void scx_bpf_dsq_insert_vtime(struct task_struct *p, u64 dsq_id, u64 slice_ns, u64 vtime,
				     u64 enq_flags) __ksym;
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

/* Whether it may run on every CPU, and so be put into any local DSQ. */
static __always_inline bool may_run_anywhere(struct task_struct *p)
{
	return !(p->flags & PF_KTHREAD) && p->nr_cpus_allowed >= scx_bpf_nr_cpu_ids();
}

/* Whether it is time to fail: never with a task of the kernel, and not with the first tasks. */
static __always_inline bool fails_with(struct task_struct *p)
{
	return !(p->flags & PF_KTHREAD) && __sync_fetch_and_add(&inserted, 1) >= GOOD_INSERTS;
}

/* Create a DSQ for every CPU. */
static __always_inline s32 create_per_cpu(void)
{
	s32 cpu, err = 0;

	for (cpu = 0; cpu < MAX_CPUS && cpu < scx_bpf_nr_cpu_ids() && !err; cpu++)
		err = scx_bpf_create_dsq(PER_CPU + cpu, -1);
	return err;
}

/* Whether it is a worker of the scenario of this kind, such as "spin". */
static __always_inline bool is_worker(struct task_struct *p, const char *kind, int length)
{
	char comm[TASK_COMM_LEN];
	int i;

	bpf_probe_read_kernel_str(comm, sizeof(comm), p->comm);
	for (i = 0; i < length; i++)
		if (comm[i] != kind[i])
			return false;
	return true;
}
#define IS_WORKER(p, kind) is_worker(p, kind, sizeof(kind) - 1)

#define OPS(id, members...)     \
	SEC(".struct_ops.link") \
	struct sched_ext_ops id##_ops = { members, .name = #id }

#endif
