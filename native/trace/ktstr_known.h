// SPDX-License-Identifier: MIT
//
// What is behind `struct ktc_counts`: tasks in an array, in the order in which they came, and a table of hashes with their
// places in it.
#ifndef KTSTR_KNOWN_H
#define KTSTR_KNOWN_H

#include "ktstr_count.h"

#define TABLE_BITS 17
#define TABLE (1u << TABLE_BITS)
_Static_assert(TABLE == 2 * KTC_MAX_KNOWN, "half of the table stays empty");

struct task {
	int64_t pid;
	int64_t prio;
	uint64_t since_ns; // since when it waits, if `waits`
	uint64_t ran_ns, switches, preempted, migrations, wakeups;
	uint64_t waiting_ns; // at the end of a stretch
	size_t first_wait, wait_count;
	uint16_t cpu;
	bool has_prio, waits, sleeps, exits, touched;
};

struct on_cpu {
	bool known;
	int64_t pid;
	uint64_t since_ns;
};

struct wait {
	uint64_t ns;
	int64_t task; // its place; -1 when it was forgotten
};

struct ktc_counts {
	struct task *tasks;
	size_t task_count;
	uint32_t *table; // places of tasks, plus 1
	uint64_t multiplier; // odd and drawn by lot, so that no guest can choose pids that meet in the table
	struct task **listed;
	struct on_cpu *on_cpu;
	struct ktc_cpu *cpus;
	uint16_t nr_cpus;
	uint64_t *bounds_ns, *buckets;
	size_t bound_count;
	struct wait *waits;
	uint64_t *ordered; // the same waits by task, ascending
	size_t wait_count, wait_room;
	bool begun;
	uint64_t begin_ns, events, kicks, left_out;
};

// How much later; nothing when it is earlier.
static inline uint64_t after(uint64_t now_ns, uint64_t since_ns)
{
	return now_ns > since_ns ? now_ns - since_ns : 0;
}

// The entry of the table that is a pid's, or would be.
uint32_t *ktc_entry(const struct ktc_counts *c, int64_t pid);

// Whether a task is known to have a CPU.
bool ktc_runs(const struct ktc_counts *c, int64_t pid);

// Give the time since the last switch to whoever had the CPU, if that is known.
void ktc_charge(struct ktc_counts *c, uint16_t cpu, uint64_t now_ns, int64_t pid);

#endif
