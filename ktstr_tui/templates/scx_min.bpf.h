/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of sched_ext that the demo schedulers use, written by hand in place of a generated vmlinux.h.
 *
 * One object file has to load into kernels that differ. Three mechanisms make that work:
 *
 *   - Structs of the kernel carry preserve_access_index: the loader rewrites each field access to the offset
 *     that the running kernel's BTF gives, so only the fields that are used need to be listed.
 *   - struct sched_ext_ops is matched by libbpf member by member, by name; order and absent members do not
 *     matter.
 *   - kfuncs are weak. libbpf compares names without their last ___suffix, so every declaration below has
 *     one of its own, and bpf_ksym_exists() picks the newest that the kernel has. Branches for absent
 *     kfuncs are dead code to the verifier.
 */
#ifndef SCX_MIN_BPF_H
#define SCX_MIN_BPF_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef _Bool bool;
#define true 1
#define false 0

/* From the kernel's user space interface, linux/bpf.h. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
	BPF_MAP_TYPE_ARENA = 33,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1024 };
struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

enum scx_exit_kind {
	SCX_EXIT_NONE = 0,
	SCX_EXIT_UNREG = 64,
	SCX_EXIT_UNREG_BPF = 65, // it called scx_bpf_exit()
	SCX_EXIT_UNREG_KERN = 66, // CPU hotplug
	SCX_EXIT_ERROR = 1024,
	SCX_EXIT_ERROR_BPF = 1025,
	SCX_EXIT_ERROR_STALL = 1026,
};

#define SCX_DSQ_LOCAL 0x8000000000000002ULL // the queue of the CPU itself, which no dispatch has to serve
#define PF_KTHREAD 0x00200000
#define TASK_COMM_LEN 16
#define CLOCK_MONOTONIC 1
#define NSEC_PER_MSEC 1000000ULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct cpumask {
	unsigned long bits[1]; // as many as the kernel has CPUs for
};

struct sched_entity {
	u64 sum_exec_runtime; // ns
};

struct sched_ext_entity {
	u32 weight; // 1 to 10000, 100 at nice 0
	u64 slice; // ns that are left
	u64 dsq_vtime;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	int nr_cpus_allowed;
	const struct cpumask *cpus_ptr;
	struct cpumask cpus_mask; // by value, so that clang describes the type and not only its name
	struct sched_entity se;
	struct sched_ext_entity scx;
	char comm[TASK_COMM_LEN];
};

struct scx_exit_info {
	enum scx_exit_kind kind;
	__s64 exit_code;
	const char *msg;
};

#pragma clang attribute pop

struct scx_dump_ctx;
struct scx_init_task_args;
struct scx_exit_task_args;

struct sched_ext_ops {
	s32 (*select_cpu)(struct task_struct *p, s32 prev_cpu, u64 wake_flags);
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cpu, struct task_struct *prev);
	void (*running)(struct task_struct *p);
	void (*stopping)(struct task_struct *p, bool runnable);
	void (*cpu_online)(s32 cpu);
	void (*cpu_offline)(s32 cpu);
	void (*enable)(struct task_struct *p);
	s32 (*init_task)(struct task_struct *p, struct scx_init_task_args *args);
	void (*exit_task)(struct task_struct *p, struct scx_exit_task_args *args);
	s32 (*init)(void);
	void (*exit)(struct scx_exit_info *info);
	void (*dump)(struct scx_dump_ctx *ctx);
	u32 dispatch_max_batch;
	u64 flags;
	u32 timeout_ms;
	char name[128];
};

extern s32 scx_bpf_create_dsq(u64 dsq_id, s32 node) __ksym;
extern s32 scx_bpf_select_cpu_dfl(struct task_struct *p, s32 prev_cpu, u64 wake_flags, bool *is_idle) __ksym;
extern s32 scx_bpf_task_cpu(const struct task_struct *p) __ksym;
extern u32 scx_bpf_nr_cpu_ids(void) __ksym;
extern void scx_bpf_kick_cpu(s32 cpu, u64 flags) __ksym;

/*
 * Since Linux kernel commit cded46d97159 ("sched_ext: Make scx_bpf_dsq_insert*() return bool") (in v6.19) the insert
 * returns whether it happened; before that, it returns nothing. Since commit cc26abb1a19a ("sched_ext: Rename
 * scx_bpf_dispatch[_vtime]() to scx_bpf_dsq_insert[_vtime]()") (in v6.13) it has this name; before that, it is called
 * dispatch. Since commit 5209c03c8ed2 ("sched_ext: Rename scx_bpf_consume() to scx_bpf_dsq_move_to_local()") (in v6.13)
 * the move to the local DSQ has this name; before that, it is called consume.
 */
extern bool scx_bpf_dsq_insert___v2___min(struct task_struct *p, u64 dsq_id, u64 slice_ns,
					  u64 enq_flags) __ksym __weak;
extern void scx_bpf_dsq_insert___min(struct task_struct *p, u64 dsq_id, u64 slice_ns,
				     u64 enq_flags) __ksym __weak;
extern void scx_bpf_dispatch___min(struct task_struct *p, u64 dsq_id, u64 slice_ns,
				   u64 enq_flags) __ksym __weak;
extern bool scx_bpf_dsq_move_to_local___min(u64 dsq_id) __ksym __weak;
extern bool scx_bpf_consume___min(u64 dsq_id) __ksym __weak;

/* Put a task at the end of a DSQ. */
static __always_inline void scx_insert(struct task_struct *p, u64 dsq_id, u64 slice_ns, u64 enq_flags)
{
	if (bpf_ksym_exists(scx_bpf_dsq_insert___v2___min))
		scx_bpf_dsq_insert___v2___min(p, dsq_id, slice_ns, enq_flags);
	else if (bpf_ksym_exists(scx_bpf_dsq_insert___min))
		scx_bpf_dsq_insert___min(p, dsq_id, slice_ns, enq_flags);
	else
		scx_bpf_dispatch___min(p, dsq_id, slice_ns, enq_flags);
}

/* Move the first task of a DSQ that may run here to this CPU's local DSQ. False when there was none. */
static __always_inline bool scx_move_to_local(u64 dsq_id)
{
	if (bpf_ksym_exists(scx_bpf_dsq_move_to_local___min))
		return scx_bpf_dsq_move_to_local___min(dsq_id);
	return scx_bpf_consume___min(dsq_id);
}

#endif
