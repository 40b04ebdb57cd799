// SPDX-License-Identifier: MIT
#include "pager.h"

static bool overlaps(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

const char *refuse_region(const struct pager *pager, const struct ktp_message *asked, pid_t target)
{
	uint64_t image = pager->shared->pages * KTP_PAGE_BYTES, end;

	if (!asked->d || asked->d & (asked->d - 1))
		return "the page size is not a power of two";
	if (asked->d != KTP_PAGE_BYTES)
		return "only pages of 4096 bytes are served";
	if (!asked->b || (asked->a | asked->b | asked->c) % KTP_PAGE_BYTES)
		return "base, length and offset are not multiples of the page size";
	if (__builtin_add_overflow(asked->a, asked->b, &end))
		return "the region ends behind the last address";
	if (asked->b > image || asked->c > image - asked->b)
		return "the region ends behind the image";
	if (pager->nr_regions == KTP_MAX_REGIONS)
		return "there are too many regions";
	for (size_t i = 0; i < pager->nr_regions; i++) {
		const struct region *region = &pager->regions[i];

		if (region->uffd >= 0 && region->target == target &&
		    overlaps(region->base, region->bytes, asked->a, asked->b))
			return "the region overlaps with another one";
	}
	return NULL;
}

// Copies of one userfaultfd tell of the same memory, so what counts is whose memory it is.
static pid_t target_of(const struct pager *pager, int uffd)
{
	for (size_t i = 0; i < pager->nr_regions; i++) {
		if (pager->regions[i].uffd == uffd)
			return pager->regions[i].target;
	}
	return -1;
}

struct region *region_of(struct pager *pager, int uffd, uint64_t address)
{
	pid_t target = target_of(pager, uffd);

	for (size_t i = 0; i < pager->nr_regions; i++) {
		struct region *region = &pager->regions[i];

		if (region->uffd >= 0 && region->target == target && region->base <= address &&
		    address - region->base < region->bytes)
			return region;
	}
	return NULL;
}

struct region *region_with(struct pager *pager, uint64_t page)
{
	for (size_t i = 0; i < pager->nr_regions; i++) {
		struct region *region = &pager->regions[i];
		uint64_t first = region->offset / KTP_PAGE_BYTES;

		if (region->uffd >= 0 && !region->lost && first <= page &&
		    page - first < region->bytes / KTP_PAGE_BYTES)
			return region;
	}
	return NULL;
}

bool was_served(const struct pager *pager, uint64_t page)
{
	return pager->served[page / 8] >> page % 8 & 1;
}

void mark_served(struct pager *pager, uint64_t page)
{
	if (was_served(pager, page))
		return;
	// Others read these bits: a page is there before its bit is.
	__atomic_fetch_or(&pager->served[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELEASE);
	if (!source_is_zeros(&pager->source, page))
		pager->shared->left--;
}
