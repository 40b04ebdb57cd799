// SPDX-License-Identifier: MIT
//
// Counts what tasks and CPUs do, event by event: the state that outlives a stretch, and the sums of one.
//
// A task waits from the moment that it leaves a CPU while it is runnable, or is woken, until a CPU switches to it. What a
// CPU did between two switches goes to whoever left it at the second, if that is also who came at the first; otherwise
// something was lost and the time is nobody's. Times come from the guest and may be in any order: none is ever less than
// nothing, and a sum that would overflow stays at its end.
//
// At most KTC_MAX_KNOWN tasks are remembered. One more makes all of them forgotten; those that did something in this stretch
// are then counted as left out.
#ifndef KTSTR_COUNT_H
#define KTSTR_COUNT_H

#include <stdbool.h>

#include "ktstr_trace.h"

// cffi: begin
#define KTC_MAX_KNOWN 65536

// How the caller numbers the kinds of events that are counted.
#define KTC_SWITCH 1
#define KTC_WAKEUP 2
#define KTC_NEW 4
#define KTC_MIGRATE 5
#define KTC_EXIT 6
#define KTC_KICK 11

#define KTC_RUNS 1
#define KTC_WAITS 2
#define KTC_SLEEPS 3

// Waits that ended in a stretch; the times are 0 when there are none.
struct ktc_waits {
	uint64_t count;
	uint64_t p50_ns;
	uint64_t p99_ns;
	uint64_t max_ns;
};

// One task in a stretch.
struct ktc_rate {
	int64_t pid;
	int64_t prio;
	uint64_t ran_ns;
	uint64_t switches;
	uint64_t preempted;
	uint64_t migrations;
	uint64_t wakeups;
	uint64_t waiting_ns; // if is_waiting
	struct ktc_waits waits;
	uint16_t cpu;
	uint8_t doing;
	bool has_prio;
	bool is_waiting; // and it is known since when
};

// One CPU in a stretch.
struct ktc_cpu {
	uint64_t busy_ns;
	uint64_t idle_ns;
	uint64_t switches;
	uint64_t preempted;
};

struct ktc_stretch {
	uint64_t span_ns;
	uint64_t events;
	uint64_t kicks;
	uint64_t tasks; // that did something or waited, whether listed or not
	struct ktc_waits waits; // of all tasks
};

struct ktc_counts;

// `bounds_ns` are the upper bounds of the buckets of waits, ascending; one more bucket takes what is longer. Returns NULL
// without memory.
struct ktc_counts *ktc_create(uint16_t nr_cpus, const uint64_t *bounds_ns, size_t bound_count);
void ktc_destroy(struct ktc_counts *c);

// Count events, those of a known kind that have all of their values. Returns false without memory; then none is counted.
bool ktc_add(struct ktc_counts *c, const struct ktt_event *events, size_t count);

// Something of a CPU was lost: who runs there is not known until it switches again.
void ktc_forget(struct ktc_counts *c, uint16_t cpu);

// Something was lost: that a task waits still is not known.
void ktc_forget_waits(struct ktc_counts *c);

// End a stretch and begin the next. Returns how many of its tasks are in `rates`, at most `room`: those that had most of the
// CPUs first, then those that wait longest, then by pid. `cpus` has room for all CPUs, `buckets`, which count since the
// beginning, for one more than the bounds.
size_t ktc_finish(struct ktc_counts *c, uint64_t now_ns, struct ktc_stretch *stretch, struct ktc_rate *rates,
		  size_t room, struct ktc_cpu *cpus, uint64_t *buckets);
// cffi: end

#endif
