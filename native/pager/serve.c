// SPDX-License-Identifier: MIT
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <unistd.h>

#include "pager.h"

#define FAULTS_AT_ONCE 32
#define BAD_PAGES_TOLD 16

enum answered { ANSWERED, WAITS };

static void note_latency(struct pager *pager, enum ktp_class class, uint64_t since_ns)
{
	uint64_t us = (now_ns() - since_ns) / 1000;
	unsigned int bucket = us ? 64u - (unsigned int)__builtin_clzll(us) : 0;

	pager->shared->latency[class][bucket < KTP_BUCKETS ? bucket : KTP_BUCKETS - 1]++;
}

static void note_link(struct pager *pager, bool down)
{
	if (down && !pager->link_down)
		tell(pager, KTP_LINK_LOST, 0, pager->source.why);
	if (!down && pager->link_down)
		tell(pager, KTP_LINK_BACK, 0, NULL);
	pager->link_down = down;
	pager->shared->link_losses = pager->source.losses;
}

static void note_bad(struct pager *pager, uint64_t page)
{
	if (pager->known_bad[page / 8] >> page % 8 & 1)
		return;
	pager->known_bad[page / 8] |= (uint8_t)(1u << page % 8);
	pager->shared->source_errors++;
	// Of a store that is damaged all over, the count is enough.
	if (pager->shared->source_errors <= BAD_PAGES_TOLD)
		tell(pager, KTP_BAD_PAGE, page, pager->source.why);
}

static enum fetched fetch(struct pager *pager, uint64_t page, uint8_t *to)
{
	enum fetched fetched = source_fetch(&pager->source, page, to);

	if (fetched == FETCH_NEVER)
		note_bad(pager, page);
	if (!pager->source.from_here && fetched != FETCHED_ZEROS)
		note_link(pager, fetched == FETCH_LATER);
	return fetched;
}

static void count_fault(struct pager *pager, uint64_t page, bool zeros)
{
	struct ktp_shared *shared = pager->shared;

	shared->faults++;
	shared->served_bytes += KTP_PAGE_BYTES;
	shared->zeros += zeros;
	if (shared->order_count < shared->pages) {
		pager->order[shared->order_count] = (uint32_t)page;
		__atomic_store_n(&shared->order_count, shared->order_count + 1, __ATOMIC_RELEASE);
	}
}

// The page is there: somebody else's fault was served meanwhile. Should it have been taken away without a word, by a hole
// punched into the file, it is zeros.
static enum answered answer_again(struct pager *pager, struct region *region, uint64_t address,
				  uint64_t since_ns)
{
	uint64_t page = (address - region->base + region->offset) / KTP_PAGE_BYTES, done;
	enum copied copied = copy_pages(pager, region, address, NULL, KTP_PAGE_BYTES, &done);

	if (copied == COPY_LATER)
		return WAITS;
	if (copied == COPIED)
		count_fault(pager, page, true);
	else
		pager->shared->twice++;
	note_latency(pager, KTP_TWICE, since_ns);
	return ANSWERED;
}

static enum answered answer(struct pager *pager, struct region *region, uint64_t address, uint64_t since_ns)
{
	uint64_t page = (address - region->base + region->offset) / KTP_PAGE_BYTES, done;
	enum ktp_class class;
	enum fetched fetched;
	enum copied copied;

	if (was_served(pager, page))
		return answer_again(pager, region, address, since_ns);
	fetched = fetch(pager, page, pager->buffer);
	if (fetched == FETCH_LATER || fetched == FETCH_NEVER)
		return WAITS;
	copied = copy_pages(pager, region, address, fetched == FETCHED ? pager->buffer : NULL, KTP_PAGE_BYTES,
			    &done);
	if (copied == COPY_LATER || copied == COPY_FAILED)
		return WAITS;
	mark_served(pager, page);
	class = pager->source.from_here ? KTP_LOCAL : KTP_REMOTE;
	if (copied == COPIED)
		count_fault(pager, page, fetched == FETCHED_ZEROS);
	else
		pager->shared->twice++;
	note_latency(pager, fetched == FETCHED_ZEROS ? KTP_ZERO : class, since_ns);
	return ANSWERED;
}

static void park(struct pager *pager, const struct region *region, uint64_t address)
{
	if (pager->nr_parked == pager->parked_room) {
		size_t room = pager->parked_room ? pager->parked_room * 2 : 64;
		uint64_t *parked = realloc(pager->parked, room * sizeof(*parked));
		uint8_t *regions = realloc(pager->parked_regions, room);

		if (!parked || !regions)
			abort(); // its waker would be lost, and whoever started us learns of our end
		pager->parked = parked;
		pager->parked_regions = regions;
		pager->parked_room = room;
	}
	pager->parked_regions[pager->nr_parked] = (uint8_t)(region - pager->regions);
	pager->parked[pager->nr_parked++] = address;
	pager->shared->parked = pager->nr_parked;
}

static void take_fault(struct pager *pager, int uffd, uint64_t address)
{
	uint64_t since_ns = now_ns(), at = address & ~(uint64_t)(KTP_PAGE_BYTES - 1), done;
	struct region *region = region_of(pager, uffd, at);

	if (!region) {
		struct region outside = { .uffd = uffd };

		pager->shared->forwarded++;
		copy_pages(pager, &outside, at, NULL, KTP_PAGE_BYTES, &done);
		return;
	}
	if (answer(pager, region, at, since_ns) == WAITS)
		park(pager, region, at);
}

void read_faults(struct pager *pager, int uffd)
{
	struct uffd_msg messages[FAULTS_AT_ONCE];
	ssize_t got = read(uffd, messages, sizeof(messages));

	for (ssize_t i = 0; i < got / (ssize_t)sizeof(*messages); i++) {
		const struct uffd_msg *it = &messages[i];

		if (it->event == UFFD_EVENT_PAGEFAULT)
			take_fault(pager, uffd, it->arg.pagefault.address);
		else if (it->event == UFFD_EVENT_REMAP)
			take_event(pager, uffd, it->event, it->arg.remap.from, it->arg.remap.to,
				   it->arg.remap.len);
		else
			take_event(pager, uffd, it->event, it->arg.remove.start, it->arg.remove.end, 0);
	}
}

void serve_parked(struct pager *pager)
{
	size_t nr = pager->nr_parked, kept = 0;

	for (size_t i = 0; i < nr; i++) {
		struct region *region = &pager->regions[pager->parked_regions[i]];

		if (region->uffd < 0 || answer(pager, region, pager->parked[i], now_ns()) == ANSWERED)
			continue;
		pager->parked_regions[kept] = pager->parked_regions[i];
		pager->parked[kept++] = pager->parked[i];
	}
	pager->nr_parked = kept;
	pager->shared->parked = kept;
}

// Fetch pages of data that follow each other into the buffer. Returns how many; `*away` when the source is.
static uint64_t fetch_run(struct pager *pager, const struct region *region, uint64_t first, uint64_t most,
			  bool *away)
{
	uint64_t nr = 0;

	for (uint64_t page = first; nr < most && page < pager->shared->pages; page++) {
		enum fetched fetched;

		if (region_with(pager, page) != region || was_served(pager, page) ||
		    source_is_zeros(&pager->source, page))
			break;
		fetched = fetch(pager, page, pager->buffer + nr * KTP_PAGE_BYTES);
		*away = fetched == FETCH_LATER;
		// Zeros of a raw file are made when they are touched, as if they had been given back.
		if (fetched == FETCHED_ZEROS && !nr)
			mark_served(pager, page);
		if (fetched != FETCHED)
			break;
		nr++;
	}
	return nr;
}

bool load_ahead(struct pager *pager, uint64_t first, uint64_t most, uint64_t *count)
{
	struct region *region = region_with(pager, first);
	bool away = false;
	uint64_t nr = region ? fetch_run(pager, region, first, most, &away) : 0, done;
	enum copied copied;

	if (!nr)
		return !away;
	copied = copy_pages(pager, region, region->base + first * KTP_PAGE_BYTES - region->offset,
			    pager->buffer, nr * KTP_PAGE_BYTES, &done);
	for (uint64_t i = 0; i < done / KTP_PAGE_BYTES; i++)
		mark_served(pager, first + i);
	if (copied == WAS_THERE)
		mark_served(pager, first + done / KTP_PAGE_BYTES);
	*count += done / KTP_PAGE_BYTES;
	pager->shared->served_bytes += done;
	return copied != COPY_LATER;
}
