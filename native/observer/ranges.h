/* SPDX-License-Identifier: MIT */
/* What is watched: sorted ranges of addresses behind a filter of pages, so that a store elsewhere costs two bits. */
#ifndef OBSERVER_RANGES_H
#define OBSERVER_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

struct ranges {
	uint32_t nr;
	struct observer_range at[OBSERVER_WATCHES];
	uint8_t filter[8192]; // a bit for each page number, modulo their number
};

/* Take ranges. Returns false, and then nothing is watched, when they are not ascending and disjoint. */
bool ranges_take(struct ranges *ranges, const struct observer_range *from, uint32_t nr);
/* Whether one of the bytes from `first` to `last` is watched. */
bool ranges_hit(const struct ranges *ranges, uint64_t first, uint64_t last);

#endif
