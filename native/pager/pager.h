// SPDX-License-Identifier: MIT
//
// The pager: a process that brings the pages of an image into the memory of others, when they touch them or before.
//
// Everything is done by one thread, so a page is served once however many ask for it. What it does not answer
// for it says: to the shared counters (ktstr_page.h), and as a message to whoever started it.
//
// Facts about userfaultfd that shape this code:
//
// - Of two threads that touch one page each makes a fault of its own. The second is answered by waking it: the page is
//   there. A copy onto a page that is there fails with EEXIST.
// - While the paged process gives memory back (madvise) or moves it, the kernel first tells us and every copy fails with
//   EAGAIN until the message was read. A copy of several pages may then have done a part.
// - A page that was given back is a page of zeros from then on, not what the image has.
// - Several mappings of one file, such as QEMU's and that of who reads the guest, share their pages: what came into one
//   is there for all. Each has a userfaultfd of its own.
#ifndef KTSTR_PAGER_PAGER_H
#define KTSTR_PAGER_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ktstr_page.h"
#include "source.h"

#define BATCH_PAGES 8u

struct region {
	int uffd; // or -1
	uint64_t base, bytes, offset;
	pid_t target;
	int target_fd; // or -1
	bool lost;
};

struct pager {
	struct ktp_shared *shared;
	uint32_t *order; // of shared->pages entries
	struct source source;
	uint8_t *served; // a bit for each page of the image
	struct region regions[KTP_MAX_REGIONS];
	size_t nr_regions;
	uint64_t *parked; // addresses of faults that wait for the source
	uint8_t *parked_regions;
	size_t nr_parked, parked_room;
	uint8_t *known_bad; // a bit for each page that cannot be had: told once
	// pages to load ahead, by number, and how far that is
	const uint64_t *prefetch;
	size_t nr_prefetch, prefetched;
	bool fill, drift_due, link_down;
	uint64_t filled; // pages up to which everything is loaded
	int control, handoff, poll_ms;
	const uint64_t *prewarm;
	size_t nr_prewarm;
	uint8_t buffer[BATCH_PAGES * KTP_PAGE_BYTES];
};

// tell.c
void tell(struct pager *pager, enum ktp_kind kind, uint64_t a, const char *text);

// region.c
// Why a region cannot be taken, or NULL.
const char *refuse_region(const struct pager *pager, const struct ktp_message *asked, pid_t target);
struct region *region_of(struct pager *pager, int uffd, uint64_t address);
// A region through which a page can be loaded, or NULL.
struct region *region_with(struct pager *pager, uint64_t page);
bool was_served(const struct pager *pager, uint64_t page);
// Count a page as there; `zeros` when it holds nothing.
void mark_served(struct pager *pager, uint64_t page);

// copy.c
enum copied { COPIED, WAS_THERE, COPY_LATER, COPY_FAILED };
// Bring pages into a region; `from` NULL for zeros, which are one page. `*done` is what was copied, in bytes.
enum copied copy_pages(struct pager *pager, struct region *region, uint64_t to, const uint8_t *from,
		       uint64_t bytes, uint64_t *done);
void wake(const struct region *region, uint64_t address);

// serve.c
void read_faults(struct pager *pager, int uffd);
void serve_parked(struct pager *pager);
// Load up to `most` pages ahead of their use, and count them. False when that has to be tried again.
bool load_ahead(struct pager *pager, uint64_t first, uint64_t most, uint64_t *count);

// ahead.c
void prewarm(struct pager *pager);
bool has_work(const struct pager *pager);
void work(struct pager *pager);
void check_resident(struct pager *pager);
// Load pages now; false, with the source's `why` set, when one of them cannot be had.
bool load_now(struct pager *pager, uint64_t first, uint64_t count);

// events.c
void take_event(struct pager *pager, int uffd, uint8_t event, uint64_t from, uint64_t to, uint64_t bytes);

// drift.c
void check_drift(struct pager *pager);
void leave_region(struct pager *pager, struct region *region);
// When all is loaded: what is missing is zeros, which the kernel makes without us.
void give_up_regions(struct pager *pager);

// take.c
// Take what is asked over a socket; false when the other end is closed or the pager is to end.
bool take_request(struct pager *pager, int from);

#endif
