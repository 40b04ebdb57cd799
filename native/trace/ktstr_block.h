// SPDX-License-Identifier: MIT
//
// Blocks: many events in little space, for viewers and recordings.
//
// A block is columns, each of as many values as there are events, one after the other: the time since the event before as
// the low and the high 32 bits, kind (1 byte), CPU (2), pid (4), the other pid (4), a number (8), to which CPU (2), priority
// (2). All are little-endian. Columns of one meaning compress well: the upper halves of times are all zero, and of a
// thousand switches most name the same few tasks.
#ifndef KTSTR_BLOCK_H
#define KTSTR_BLOCK_H

#include "ktstr_trace.h"

// cffi: begin
// The kind of a switch, whose other pid is the task that leaves; of all others it is who did it.
#define KTT_SWITCH 1
// Of one event in a block.
#define KTT_PACKED_BYTES 31

// Merge the events of CPUs, each in order of time, to one order; those of one time stay in the order of the runs.
// `merged` has room for all of them, `at` for a number per run.
void ktt_merge(const struct ktt_event *const *runs, const size_t *lengths, size_t run_count, size_t *at,
	       struct ktt_event *merged);

// The first of events in the order of a page whose body begins at `at` or later; `count` when there is none.
size_t ktt_first(const struct ktt_event *events, size_t count, uint32_t at);

// How many of events in order of time are not later than a time.
size_t ktt_until(const struct ktt_event *events, size_t count, uint64_t until_ns);

// The places of the last event of each pid, among events of the kinds in the bit mask. `seen` is a bit for each pid below
// `pids`; it is set for those that are found, and those whose bit is set are not found again.
size_t ktt_newest(const struct ktt_event *events, size_t count, uint32_t kinds, uint8_t *seen, uint32_t pids,
		  uint32_t *found);

// How many of these events go into a block: those of a known kind that have all of their values.
size_t ktt_packable(const struct ktt_event *events, size_t count);

// Pack events into `out`, which has room for KTT_PACKED_BYTES for each of the `packable` ones.
void ktt_pack(const struct ktt_event *events, size_t count, size_t packable, uint64_t base_ns, uint8_t *out);
// cffi: end

#endif
