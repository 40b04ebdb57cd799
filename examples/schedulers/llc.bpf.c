// SPDX-License-Identifier: GPL-2.0-only
/*
 * One DSQ for each last-level cache. A task waits where it ran last, so that it finds its data in the cache; a CPU whose
 * own DSQ is empty takes from the one with the most tasks. Which CPU belongs to which cache is read by the
 * program, llc.c, from sysfs.
 */
#include "more.bpf.h"

#define LLC_DSQ 0x100ULL // plus the number of the cache
#define LLCS_MAX 32
#define SLICE_NS (5 * NSEC_PER_MSEC)

const volatile u32 nr_llcs = 1;
const volatile u32 llc_of[CPUS_MAX];

u64 nr_enqueued[LLCS_MAX];
u64 nr_local[LLCS_MAX]; // tasks that stayed with their cache
u64 nr_taken_over[LLCS_MAX]; // tasks that this cache took from another

static u32 llc_of_cpu(s32 cpu)
{
	return llc_of[cpu & (CPUS_MAX - 1)] & (LLCS_MAX - 1);
}

SEC("struct_ops/llc_enqueue")
void BPF_PROG(llc_enqueue, struct task_struct *p, u64 enq_flags)
{
	u32 llc = llc_of_cpu(scx_bpf_task_cpu(p));

	if (scx_kernel_task(p, SLICE_NS, enq_flags))
		return;
	scx_insert(p, LLC_DSQ + llc, SLICE_NS, enq_flags);
	__sync_fetch_and_add(&nr_enqueued[llc], 1);
	scx_wake_for(p);
}

struct longest {
	u32 llc;
	s32 nr;
};

static long compare(u32 llc, struct longest *longest)
{
	s32 nr = scx_bpf_dsq_nr_queued(LLC_DSQ + llc);

	if (nr > longest->nr) {
		longest->nr = nr;
		longest->llc = llc;
	}
	return 0;
}

SEC("struct_ops/llc_dispatch")
void BPF_PROG(llc_dispatch, s32 cpu, struct task_struct *prev)
{
	struct longest longest = {};
	u32 llc = llc_of_cpu(cpu);

	if (scx_move_to_local(LLC_DSQ + llc)) {
		__sync_fetch_and_add(&nr_local[llc], 1);
		return;
	}
	bpf_loop(nr_llcs, compare, &longest, 0);
	if (longest.nr && scx_move_to_local(LLC_DSQ + longest.llc))
		__sync_fetch_and_add(&nr_taken_over[llc], 1);
}

SEC("struct_ops.s/llc_init")
s32 BPF_PROG(llc_init)
{
	s32 err = 0;

	for (u32 llc = 0; llc < nr_llcs && llc < LLCS_MAX && !err; llc++)
		err = scx_bpf_create_dsq(LLC_DSQ + llc, -1);
	return err;
}

SCX_COMMON_OPS(llc)

SEC(".struct_ops.link")
struct sched_ext_ops llc_ops = {
	.select_cpu = (void *)llc_select_cpu,
	.enqueue = (void *)llc_enqueue,
	.dispatch = (void *)llc_dispatch,
	.init = (void *)llc_init,
	.exit = (void *)llc_exit,
	.timeout_ms = 5000,
	.name = "llc",
};
