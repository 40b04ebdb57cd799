// SPDX-License-Identifier: MIT
#include "ranges.h"

#include <string.h>

static void filter_set(struct ranges *ranges, uint64_t first, uint64_t last)
{
	uint64_t from = first >> RANGES_PAGE_SHIFT, pages = (last >> RANGES_PAGE_SHIFT) - from + 1;

	if (pages >= RANGES_PAGES) {
		memset(ranges->filter, 0xff, sizeof(ranges->filter));
		return;
	}
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t bit = (from + i) % RANGES_PAGES;

		ranges->filter[bit / 8] |= (uint8_t)(1u << (bit % 8));
	}
}

void ranges_also_near(struct ranges *ranges, uint64_t first, uint64_t last)
{
	filter_set(ranges, first, last);
}

bool ranges_take(struct ranges *ranges, const struct observer_range *from, uint32_t nr)
{
	memset(ranges->filter, 0, sizeof(ranges->filter));
	ranges->nr = 0;
	if (nr > OBSERVER_WATCHES)
		return false;
	// Copied first: the other side may write meanwhile, and only the copy is checked.
	memcpy(ranges->at, from, nr * sizeof(*from));
	for (uint32_t i = 0; i < nr; i++) {
		if (ranges->at[i].last < ranges->at[i].first ||
		    (i && ranges->at[i].first <= ranges->at[i - 1].last))
			return false;
	}
	for (uint32_t i = 0; i < nr; i++)
		filter_set(ranges, ranges->at[i].first, ranges->at[i].last);
	ranges->nr = nr;
	return true;
}

bool ranges_hit(const struct ranges *ranges, uint64_t first, uint64_t last)
{
	uint32_t low = 0, high = ranges->nr;

	while (low < high) { // the first range that ends at or behind `first`
		uint32_t middle = low + (high - low) / 2;

		if (ranges->at[middle].last < first)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ranges->nr && ranges->at[low].first <= last;
}
