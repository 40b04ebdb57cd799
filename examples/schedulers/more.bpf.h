/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What these schedulers need beyond native/schedulers/scx_min.bpf.h, which says how one object loads into
 * kernels that differ.
 *
 * The hard thing in a scheduler that keeps tasks outside DSQs is the idle CPU. A CPU looks for work in
 * dispatch() and goes idle when there is none; whoever adds work afterwards has to wake it. scx_wake_for()
 * does that, and it closes the gap between the two: SCX_KICK_IDLE looks under the lock of the runqueue that
 * the other CPU holds until it is idle.
 */
#ifndef MORE_BPF_H
#define MORE_BPF_H

#include "scx_min.bpf.h"

#define SCX_DSQ_GLOBAL 0x8000000000000001ULL
#define SCX_DSQ_LOCAL_ON 0xc000000000000000ULL // or'ed with a CPU: the local DSQ of that CPU
#define SCX_SLICE_INF (~0ULL)
#define SCX_ENQ_HEAD (1ULL << 16)
#define SCX_ENQ_PREEMPT (1ULL << 32)
#define SCX_KICK_IDLE 1
#define SCX_KICK_PREEMPT 2
#define CPUS_MAX 256

char _license[] SEC("license") = "GPL";

/* How the scheduler ended, for the program that loaded it. */
struct exit_record {
	enum scx_exit_kind kind;
	__s64 code;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct exit_record);
} exit_records SEC(".maps");

extern s32 scx_bpf_pick_idle_cpu(const struct cpumask *allowed, u64 flags) __ksym;
extern s32 scx_bpf_dsq_nr_queued(u64 dsq_id) __ksym;
extern bool bpf_cpumask_test_cpu(u32 cpu, const struct cpumask *mask) __ksym;
extern struct task_struct *bpf_task_from_pid(s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

static __always_inline bool scx_may_run_on(struct task_struct *p, s32 cpu)
{
	return bpf_cpumask_test_cpu(cpu, p->cpus_ptr);
}

/* Make an idle CPU that may run the task look for work, if there is one. */
static __always_inline void scx_wake_for(struct task_struct *p)
{
	s32 cpu = scx_bpf_pick_idle_cpu(p->cpus_ptr, 0);

	scx_bpf_kick_cpu(cpu >= 0 ? cpu : scx_bpf_task_cpu(p), SCX_KICK_IDLE);
}

/* Tasks of the kernel go straight to their CPU: much waits for them, this scheduler's own loader included. */
static __always_inline bool scx_kernel_task(struct task_struct *p, u64 slice_ns, u64 enq_flags)
{
	if (!(p->flags & PF_KTHREAD))
		return false;
	scx_insert(p, SCX_DSQ_LOCAL, slice_ns, enq_flags);
	return true;
}

static __always_inline void scx_record_exit(struct scx_exit_info *info)
{
	struct exit_record record = { .kind = info->kind, .code = info->exit_code };
	u32 key = 0;

	bpf_map_update_elem(&exit_records, &key, &record, BPF_ANY);
}

/* select_cpu as the kernel does it by default, and exit for the program. */
#define SCX_COMMON_OPS(name)                                                                 \
	SEC("struct_ops/" #name "_select_cpu")                                               \
	s32 BPF_PROG(name##_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags) \
	{                                                                                    \
		bool is_idle = false;                                                        \
                                                                                             \
		return scx_bpf_select_cpu_dfl(p, prev_cpu, wake_flags, &is_idle);            \
	}                                                                                    \
	SEC("struct_ops/" #name "_exit")                                                     \
	void BPF_PROG(name##_exit, struct scx_exit_info *info)                               \
	{                                                                                    \
		scx_record_exit(info);                                                       \
	}

#endif
