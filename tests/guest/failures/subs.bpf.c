// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scheduler that works and lets others attach below it, and two sub-schedulers with a defect: subchild calls an error
 * after some tasks, substall forgets its tasks. All three have a DSQ of the same id, each in a table of its own.
 *
 * They use the form of struct sched_ext_ops that counts CPUs by cid, which all kernels with sub-schedulers have, and which
 * wants an arena.
 */
#include "scx_min.bpf.h"

#define SLICE_NS (5 * NSEC_PER_MSEC)
#define QUEUE 0x7ULL
#define BROKEN_AFTER 20 // tasks
#define BPF_MAP_TYPE_ARENA 33
#define BPF_F_MMAPABLE (1U << 10)

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
	__ulong(map_extra, 0x1ull << 44);
} arena SEC(".maps");

struct scx_sub_detach_args;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sched_ext_ops___sub {
	u64 sub_cgroup_id;
};

struct scx_sub_attach_args {
	struct sched_ext_ops___sub *ops;
};
#pragma clang attribute pop

struct sched_ext_ops_cid {
	void (*enqueue)(struct task_struct *p, u64 enq_flags);
	void (*dispatch)(s32 cid, struct task_struct *prev);
	s32 (*init)(void);
	s32 (*sub_attach)(struct scx_sub_attach_args *args);
	void (*sub_detach)(struct scx_sub_detach_args *args);
	u32 timeout_ms;
	u64 sub_cgroup_id;
	char name[128];
};

extern bool scx_bpf_sub_dispatch(u64 cgroup_id) __ksym;
extern void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;

struct {
	u64 child_cgroup; // the program that attached all three reads it
	u64 broken_enqueued, stalled_enqueued;
} seen SEC(".bss.seen"); // alone in its section, so that the program finds it

static __always_inline s32 create_queue(void)
{
	asm volatile("" ::"r"(&arena)); // a scheduler of this form is refused without one
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC("struct_ops/parent_enqueue")
void BPF_PROG(parent_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/parent_dispatch")
void BPF_PROG(parent_dispatch, s32 cid, struct task_struct *prev)
{
	if (!seen.child_cgroup || !scx_bpf_sub_dispatch(seen.child_cgroup))
		scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/parent_init")
s32 BPF_PROG(parent_init)
{
	return create_queue();
}

SEC("struct_ops.s/parent_sub_attach")
s32 BPF_PROG(parent_sub_attach, struct scx_sub_attach_args *args)
{
	seen.child_cgroup = args->ops->sub_cgroup_id;
	return 0;
}

SEC("struct_ops.s/parent_sub_detach")
void BPF_PROG(parent_sub_detach, struct scx_sub_detach_args *args)
{
	seen.child_cgroup = 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops_cid parent_ops = {
	.enqueue = (void *)parent_enqueue,
	.dispatch = (void *)parent_dispatch,
	.init = (void *)parent_init,
	.sub_attach = (void *)parent_sub_attach,
	.sub_detach = (void *)parent_sub_detach,
	.timeout_ms = 20000,
	.name = "subparent",
};

SEC("struct_ops/broken_enqueue")
void BPF_PROG(broken_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (__sync_fetch_and_add(&seen.broken_enqueued, 1) == BROKEN_AFTER) {
		static char format[] = "child broke in task %d";
		unsigned long long data[] = { p->pid };

		scx_bpf_error_bstr(format, data, sizeof(data));
	}
	scx_insert(p, QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/broken_dispatch")
void BPF_PROG(broken_dispatch, s32 cid, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/broken_init")
s32 BPF_PROG(broken_init)
{
	return create_queue();
}

SEC(".struct_ops.link")
struct sched_ext_ops_cid broken_ops = {
	.enqueue = (void *)broken_enqueue,
	.dispatch = (void *)broken_dispatch,
	.init = (void *)broken_init,
	.timeout_ms = 10000,
	.name = "subchild",
};

SEC("struct_ops/stalled_enqueue")
void BPF_PROG(stalled_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (__sync_fetch_and_add(&seen.stalled_enqueued, 1) < BROKEN_AFTER)
		scx_insert(p, QUEUE, SLICE_NS, enq_flags);
}

SEC("struct_ops/stalled_dispatch")
void BPF_PROG(stalled_dispatch, s32 cid, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/stalled_init")
s32 BPF_PROG(stalled_init)
{
	return create_queue();
}

SEC(".struct_ops.link")
struct sched_ext_ops_cid stalled_ops = {
	.enqueue = (void *)stalled_enqueue,
	.dispatch = (void *)stalled_dispatch,
	.init = (void *)stalled_init,
	.timeout_ms = 1000,
	.name = "substall",
};
