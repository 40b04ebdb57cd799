// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the scheduler knows of a task is in a BPF arena: memory that it allocates in pages and reaches by plain pointers,
 * without a look-up in a map. Task storage holds the pointer. Tasks that run only briefly each time go to a DSQ that
 * is served first; every eighth time it is the other one's turn, so that nobody starves.
 *
 * A pointer into the arena is stored as user space would see it and has to be cast before it is followed. clang does
 * that from version 19 on; IN_KERNEL() is the same instruction for compilers that do not know it.
 */
#include "more.bpf.h"

#define BRIEF_DSQ 0x40ULL
#define LONG_DSQ 0x41ULL
#define CONTEXTS 4096
#define PAGE_BYTES 4096
#define PAGES (CONTEXTS * sizeof(struct context) / PAGE_BYTES)
#define PROBES 64
#define BRIEF_NS (2 * NSEC_PER_MSEC)
#define SLICE_NS (5 * NSEC_PER_MSEC)
#define LONG_TURN 8

struct context {
	u32 pid; // 0: free
	u32 runs;
	u64 run_at_ns;
	u64 average_run_ns; // of the latest runs, weighted
	u64 total_run_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, PAGES);
	__ulong(map_extra, 1ULL << 44);
} arena SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct context *);
} context_of SEC(".maps");

struct context *contexts; // the first
u64 nr_contexts;
u64 nr_without; // the table was too full
u64 nr_brief;
u64 nr_long;
u64 nr_dispatches;

extern void *bpf_arena_alloc_pages(void *map, void *at, u32 count, int node, u64 flags) __ksym;

/*
 * addr_space_cast of r1 from user (1) to kernel (0): opcode 0xbf, offset 1. The verifier allows it in a program that
 * names the arena, so this does.
 */
#define IN_KERNEL(pointer)                                                          \
	({                                                                          \
		register struct context *_p __asm__("r1") = (pointer);              \
		__asm__ volatile("" : : "r"(&arena));                               \
		__asm__ volatile(".byte 0xbf, 0x11; .short 1; .long 1" : "+r"(_p)); \
		_p;                                                                 \
	})

static struct context *find(struct task_struct *p)
{
	struct context **slot = bpf_task_storage_get(&context_of, p, 0, 0);

	return slot && *slot ? IN_KERNEL(*slot) : NULL;
}

SEC("struct_ops/arena_init_task")
s32 BPF_PROG(arena_init_task, struct task_struct *p, struct scx_init_task_args *args)
{
	struct context **slot = bpf_task_storage_get(&context_of, p, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	u32 pid = p->pid, at = pid;

	for (int i = 0; slot && i < PROBES; i++, at++) {
		struct context *user = contexts + at % CONTEXTS;
		struct context *context = IN_KERNEL(user);

		if (__sync_val_compare_and_swap(&context->pid, 0, pid))
			continue;
		context->runs = 0;
		context->average_run_ns = context->total_run_ns = context->run_at_ns = 0;
		*slot = user;
		__sync_fetch_and_add(&nr_contexts, 1);
		return 0;
	}
	__sync_fetch_and_add(&nr_without, 1);
	return 0;
}

SEC("struct_ops/arena_exit_task")
void BPF_PROG(arena_exit_task, struct task_struct *p, struct scx_exit_task_args *args)
{
	struct context *context = find(p);

	if (!context)
		return;
	context->pid = 0;
	__sync_fetch_and_add(&nr_contexts, -1);
}

SEC("struct_ops/arena_enqueue")
void BPF_PROG(arena_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct context *context;

	if (scx_kernel_task(p, SLICE_NS, enq_flags))
		return;
	context = find(p);
	if (context && context->average_run_ns < BRIEF_NS) {
		__sync_fetch_and_add(&nr_brief, 1);
		scx_insert(p, BRIEF_DSQ, SLICE_NS, enq_flags);
	} else {
		__sync_fetch_and_add(&nr_long, 1);
		scx_insert(p, LONG_DSQ, SLICE_NS, enq_flags);
	}
	scx_wake_for(p);
}

SEC("struct_ops/arena_dispatch")
void BPF_PROG(arena_dispatch, s32 cpu, struct task_struct *prev)
{
	bool is_long_turn = __sync_fetch_and_add(&nr_dispatches, 1) % LONG_TURN == 0;

	if (!scx_move_to_local(is_long_turn ? LONG_DSQ : BRIEF_DSQ))
		scx_move_to_local(is_long_turn ? BRIEF_DSQ : LONG_DSQ);
}

SEC("struct_ops/arena_running")
void BPF_PROG(arena_running, struct task_struct *p)
{
	struct context *context = find(p);

	if (!context)
		return;
	context->runs++;
	context->run_at_ns = bpf_ktime_get_ns();
}

SEC("struct_ops/arena_stopping")
void BPF_PROG(arena_stopping, struct task_struct *p, bool runnable)
{
	struct context *context = find(p);
	u64 ran_ns;

	if (!context)
		return;
	ran_ns = bpf_ktime_get_ns() - context->run_at_ns;
	context->total_run_ns += ran_ns;
	context->average_run_ns = (context->average_run_ns * 3 + ran_ns) / 4;
}

SEC("struct_ops.s/arena_init")
s32 BPF_PROG(arena_init)
{
	s32 err;

	contexts = bpf_arena_alloc_pages(&arena, NULL, PAGES, -1, 0);
	if (!contexts)
		return -12; // ENOMEM
	err = scx_bpf_create_dsq(BRIEF_DSQ, -1);
	return err ? err : scx_bpf_create_dsq(LONG_DSQ, -1);
}

SCX_COMMON_OPS(arena)

SEC(".struct_ops.link")
struct sched_ext_ops arena_ops = {
	.select_cpu = (void *)arena_select_cpu,
	.enqueue = (void *)arena_enqueue,
	.dispatch = (void *)arena_dispatch,
	.running = (void *)arena_running,
	.stopping = (void *)arena_stopping,
	.init_task = (void *)arena_init_task,
	.exit_task = (void *)arena_exit_task,
	.init = (void *)arena_init,
	.exit = (void *)arena_exit,
	.timeout_ms = 5000,
	.name = "arena",
};
