// SPDX-License-Identifier: MIT
//
// Decodes one page of the kernel's trace ring buffer: a copy of what `struct buffer_data_page` holds behind its header.
//
// Mirrors `struct ring_buffer_event` (include/linux/ring_buffer.h) and kernel/trace/ring_buffer.c. An event begins with a
// word: 5 bits type_len, 27 bits of time since the event before. type_len says what follows:
//
//   0        a word with the length of the event, that word included, then the event
//   1..28    the event, in words
//   29       padding: nothing more on this page when the time is 0, else an event that was discarded, with its length
//   30       the upper bits of the time that passed; no event
//   31       the time itself, without its upper 5 bits; no event
//
// The first two bytes of an event are its type. The page comes from a guest that may have written anything there: no
// offset is followed that does not lie within the page.
#ifndef KTSTR_TRACE_H
#define KTSTR_TRACE_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
#define KTT_VALUES 7

// A number in an event.
struct ktt_member {
	uint16_t offset;
	uint8_t size; // 1, 2, 4 or 8; 0 for none
	uint8_t is_signed;
};

// Which numbers of an event type are wanted.
struct ktt_plan {
	uint16_t type;
	uint16_t kind; // what the caller calls it; not 0
	struct ktt_member members[KTT_VALUES];
};

struct ktt_event {
	uint64_t time_ns;
	uint32_t at; // of the event's body in the data
	uint32_t length;
	uint16_t type;
	uint16_t cpu;
	uint16_t missing; // bit mask of wanted values that lie outside the event
	uint16_t kind; // of its plan; 0 without one
	int64_t values[KTT_VALUES];
};

struct ktt_counts {
	uint64_t events; // of any type
	uint64_t discarded;
	uint64_t unplanned; // events of which no values are wanted
	uint64_t damaged; // bytes behind an event that reaches outside the page
};

// Decode events of `data` in order. Returns how many were put into `events`, at most `capacity`; a page of `size` bytes has
// at most size / 8 + 1. Types without a plan are listed too, without values.
size_t ktt_decode(const uint8_t *data, size_t size, uint64_t time_ns, uint16_t cpu,
		  const struct ktt_plan *plans, size_t plan_count, struct ktt_event *events, size_t capacity,
		  struct ktt_counts *counts);
// cffi: end

#endif
