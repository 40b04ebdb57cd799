// SPDX-License-Identifier: GPL-2.0-only
// A scheduler that works and keeps one map of each kind, filled with values that a test knows.
#include "scx_min.bpf.h"

#define QUEUE 0x1234567890ULL
#define LRU_HASH 9
#define PERCPU_HASH 5
#define LRU_PERCPU_HASH 10
#define RINGBUF 27
#define TASK_STORAGE 29
#define LPM_TRIE 11
#define ARRAY_OF_MAPS 12
#define HASH_OF_MAPS 13
#define QUEUE_MAP 22
#define STACK_MAP 23
#define CGRP_STORAGE 32
#define ARENA 33
#define MMAPABLE 1024
#define NO_PREALLOC 1
#define CREATE 1

char _license[] SEC("license") = "GPL";

enum color { RED = 1, GREEN = 2 };

struct row {
	enum color color;
	u8 bytes[4];
	struct {
		int x, y;
	} at;
	bool on;
	char name[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, u32);
	__type(value, struct row);
} rows SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u64);
	__type(value, struct row);
} table SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u32);
} many SEC(".maps");
struct {
	__uint(type, LRU_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
} recent SEC(".maps");
struct {
	__uint(type, PERCPU_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u64);
} shares SEC(".maps");
struct {
	__uint(type, LRU_PERCPU_HASH);
	__uint(max_entries, 8);
	__type(key, u32);
	__type(value, u32);
} recent_shares SEC(".maps");
struct {
	__uint(type, RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");
struct {
	__uint(type, TASK_STORAGE);
	__uint(map_flags, NO_PREALLOC);
	__type(key, int);
	__type(value, struct row);
} tasks SEC(".maps");
struct {
	__uint(type, QUEUE_MAP);
	__uint(max_entries, 4);
	__type(value, u32);
} waiting SEC(".maps");
struct {
	__uint(type, STACK_MAP);
	__uint(max_entries, 4);
	__type(value, u32);
} pile SEC(".maps");
struct prefix {
	u32 length;
	u8 data[4];
};
struct {
	__uint(type, LPM_TRIE);
	__uint(map_flags, NO_PREALLOC);
	__uint(max_entries, 8);
	__type(key, struct prefix);
	__type(value, u32);
} routes SEC(".maps");
struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} inside SEC(".maps");
struct {
	__uint(type, ARRAY_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = (void *)&inside } };
struct {
	__uint(type, HASH_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, u32);
	__array(values, struct inner);
} named SEC(".maps") = { .values = { [2] = (void *)&inside } };
struct {
	__uint(type, CGRP_STORAGE);
	__uint(map_flags, NO_PREALLOC);
	__type(key, int);
	__type(value, u64);
} groups SEC(".maps");
struct alarm {
	u64 started;
	struct bpf_timer timer;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct alarm);
} alarms SEC(".maps");
struct {
	__uint(type, ARENA);
	__uint(map_flags, MMAPABLE);
	__uint(max_entries, 100);
	__ulong(map_extra, 1ULL << 44);
} arena SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct cgroup {
	int level;
};
#pragma clang attribute pop

struct node {
	u64 magic;
	struct node *next;
};
struct node *in_arena;

extern void *bpf_arena_alloc_pages(void *map, void *at, u32 count, int node, u64 flags) __ksym;
extern struct cgroup *bpf_cgroup_from_id(u64 id) __ksym;
extern void bpf_cgroup_release(struct cgroup *cgroup) __ksym;

const volatile int minus_five = -5;
__s64 globals_work = -1;
int trie_filled;
struct row last = { .color = GREEN, .name = "last" };

static void fill(void)
{
	struct row row = {
		.color = RED, .bytes = { 1, 2, 3, 4 }, .at = { -1, 7 }, .on = true, .name = "first"
	};
	u64 big = 0xfedcba9876543210ULL, wide = 42;
	u32 key = 1, value = 11;

	bpf_map_update_elem(&rows, &key, &row, BPF_ANY);
	bpf_map_update_elem(&table, &big, &row, BPF_ANY);
	bpf_map_update_elem(&recent, &key, &wide, BPF_ANY);
	bpf_map_update_elem(&shares, &key, &wide, BPF_ANY);
	bpf_map_update_elem(&recent_shares, &key, &value, BPF_ANY);
	for (u32 k = 0; k < 2000; k++) {
		key = k; // the counter itself must not be in memory, or the verifier loses sight of it
		value = k + 1;
		bpf_map_update_elem(&many, &key, &value, BPF_ANY);
	}
}

static int rings(void *map, u32 *key, struct alarm *alarm)
{
	return 0;
}

static void fill_queues(void)
{
	u32 value = 70;
	u64 *record;

	for (u32 k = 0; k < 4; k++) {
		value = 70 + k;
		bpf_map_push_elem(&waiting, &value, 0);
		bpf_map_push_elem(&pile, &value, 0);
	}
	bpf_map_pop_elem(&waiting, &value);
	value = 80; // the queue is now beyond the end of its slots
	bpf_map_push_elem(&waiting, &value, 0);
	record = bpf_ringbuf_reserve(&ring, 8, 0);
	if (record) {
		*record = 0x1122334455667788ULL;
		bpf_ringbuf_submit(record, 0);
	}
	record = bpf_ringbuf_reserve(&ring, 8, 0);
	if (record)
		bpf_ringbuf_discard(record, 0);
}

/* Kernel 6.19 takes no trie in a program that may sleep, such as the one of ops.init(). */
static void fill_trie(void)
{
	struct prefix prefix = { .length = 8, .data = { 10 } };
	u32 value = 1;

	bpf_map_update_elem(&routes, &prefix, &value, BPF_ANY);
	prefix.length = 16;
	prefix.data[1] = 200;
	value = 2;
	bpf_map_update_elem(&routes, &prefix, &value, BPF_ANY);
	prefix.data[1] = 100; // forks from the last
	value = 3;
	bpf_map_update_elem(&routes, &prefix, &value, BPF_ANY);
}

static void fill_group(void)
{
	struct cgroup *root = bpf_cgroup_from_id(1);
	u64 *value;

	if (!root)
		return;
	value = bpf_cgrp_storage_get(&groups, root, 0, CREATE);
	if (value)
		*value = 4711;
	bpf_cgroup_release(root);
}

/* addr_space_cast of r1 from user (1) to kernel (0), which this compiler does not know: code 0xbf, offset 1. */
#define TO_KERNEL(pointer)                                                          \
	({                                                                          \
		register void *_p __asm__("r1") = (pointer);                        \
		__asm__ volatile(".byte 0xbf, 0x11; .short 1; .long 1" : "+r"(_p)); \
		_p;                                                                 \
	})

static void fill_arena(void)
{
	struct node *first, *page = bpf_arena_alloc_pages(&arena, 0, 1, -1, 0);

	if (!page)
		return;
	in_arena = page;
	first = TO_KERNEL(page);
	first->magic = 11;
	first->next = page + 1;
	first[1].magic = 22;
}

static void start_timer(void)
{
	u32 key = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &key);

	if (!alarm)
		return;
	alarm->started = 5;
	bpf_timer_init(&alarm->timer, &alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&alarm->timer, rings);
	bpf_timer_start(&alarm->timer, 1, 0);
}

SEC("struct_ops/maps_enqueue")
void BPF_PROG(maps_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct row *row = bpf_task_storage_get(&tasks, p, 0, CREATE);

	if (!__sync_lock_test_and_set(&trie_filled, 1))
		fill_trie();
	if (row) {
		row->color = GREEN;
		row->at.x = p->pid;
	}
	scx_insert(p, QUEUE, 5 * NSEC_PER_MSEC, enq_flags);
}

SEC("struct_ops/maps_dispatch")
void BPF_PROG(maps_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_move_to_local(QUEUE);
}

SEC("struct_ops.s/maps_init")
s32 BPF_PROG(maps_init)
{
	fill();
	fill_queues();
	fill_group();
	fill_arena();
	start_timer();
	return scx_bpf_create_dsq(QUEUE, -1);
}

SEC(".struct_ops.link")
struct sched_ext_ops maps_ops = {
	.enqueue = (void *)maps_enqueue,
	.dispatch = (void *)maps_dispatch,
	.init = (void *)maps_init,
	.timeout_ms = 20000,
	.name = "maps",
};
