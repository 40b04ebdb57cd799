// SPDX-License-Identifier: MIT
#include <linux/userfaultfd.h>

#include "pager.h"

// What was given back is zeros from now on: it counts as there.
static void give_back(struct pager *pager, const struct region *region, uint64_t start, uint64_t end)
{
	uint64_t last = region->base + region->bytes;

	start = start < region->base ? region->base : start;
	end = end > last ? last : end;
	for (uint64_t at = start; at < end; at += KTP_PAGE_BYTES) {
		mark_served(pager, (at - region->base + region->offset) / KTP_PAGE_BYTES);
		pager->shared->removed++;
	}
}

static void move(struct pager *pager, int uffd, uint64_t from, uint64_t to, uint64_t bytes)
{
	struct region *region = region_of(pager, uffd, from);

	if (region && region->base == from) {
		region->base = to;
		region->bytes = bytes < region->bytes ? bytes : region->bytes;
	}
	pager->drift_due = true;
}

void take_event(struct pager *pager, int uffd, uint8_t event, uint64_t from, uint64_t to, uint64_t bytes)
{
	if (event == UFFD_EVENT_REMAP) {
		move(pager, uffd, from, to, bytes);
		return;
	}
	if (event == UFFD_EVENT_UNMAP)
		pager->drift_due = true;
	for (uint64_t at = from; event == UFFD_EVENT_REMOVE && at < to;) {
		struct region *region = region_of(pager, uffd, at);
		uint64_t end = region ? region->base + region->bytes : at + KTP_PAGE_BYTES;

		if (region)
			give_back(pager, region, at, to);
		at = end;
	}
}
