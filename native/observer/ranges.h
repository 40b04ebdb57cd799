/* SPDX-License-Identifier: MIT */
/* What is watched: sorted ranges of addresses behind a filter of pages, so that a store elsewhere costs a bit or two. */
#ifndef OBSERVER_RANGES_H
#define OBSERVER_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

#define RANGES_PAGE_SHIFT 12
#define RANGES_PAGES 65536 // of the filter
#define RANGES_STORE_BYTES 64 // no store is wider

struct ranges {
	uint8_t filter[RANGES_PAGES / 8]; // a bit for each page number, modulo their number
	uint32_t nr;
	struct observer_range at[OBSERVER_WATCHES];
};

static inline bool ranges_page_near(const struct ranges *ranges, uint64_t address)
{
	uint64_t bit = (address >> RANGES_PAGE_SHIFT) % RANGES_PAGES;

	return ranges->filter[bit / 8] >> (bit % 8) & 1;
}

/* Whether a store to `address` may be watched: false for nearly all that are not. */
static inline bool ranges_near(const struct ranges *ranges, uint64_t address)
{
	bool at_its_end =
		(address & ((1u << RANGES_PAGE_SHIFT) - 1)) > (1u << RANGES_PAGE_SHIFT) - RANGES_STORE_BYTES;

	return ranges_page_near(ranges, address) ||
	       (__builtin_expect(at_its_end, 0) &&
		ranges_page_near(ranges, address + RANGES_STORE_BYTES - 1));
}

/* Have `ranges_near` be true of addresses that are no range, both inside. Until the next `ranges_take`. */
void ranges_also_near(struct ranges *ranges, uint64_t first, uint64_t last);

/* Take ranges. Returns false, and then nothing is watched, when they are not ascending and disjoint. */
bool ranges_take(struct ranges *ranges, const struct observer_range *from, uint32_t nr);
/* Whether one of the bytes from `first` to `last` is watched. */
bool ranges_hit(const struct ranges *ranges, uint64_t first, uint64_t last);

#endif
