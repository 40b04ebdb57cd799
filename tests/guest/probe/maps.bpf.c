// SPDX-License-Identifier: GPL-2.0-only
// A scheduler that works and keeps one map of each kind, filled with values that a test knows.
#include "scx_min.bpf.h"

#define QUEUE 0x1234567890ULL
#define LRU_HASH 9
#define PERCPU_HASH 5
#define LRU_PERCPU_HASH 10
#define RINGBUF 27
#define TASK_STORAGE 29
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

const volatile int minus_five = -5;
__s64 globals_work = -1;
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

SEC("struct_ops/maps_enqueue")
void BPF_PROG(maps_enqueue, struct task_struct *p, u64 enq_flags)
{
	struct row *row = bpf_task_storage_get(&tasks, p, 0, CREATE);

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
