// SPDX-License-Identifier: MIT
//
// What the pager shares with whoever started it: a page of counters that it alone writes, and the messages between them.
//
// Counters only grow, but for those that say so, and each is written whole, so they are read at any time without asking.
// Behind the struct follows the order of first use: one uint32_t for each page that a fault asked for, `order_count` of
// them, as a number of a page of the image. Behind that, room for all pages, is a bit for each page that is in memory.
#ifndef KTSTR_PAGE_H
#define KTSTR_PAGE_H

#include <stdint.h>

// cffi: begin
#define KTP_MAGIC 0x4b504147u
#define KTP_LAYOUT 1u
#define KTP_PAGE_BYTES 4096u
#define KTP_MAX_REGIONS 32u
#define KTP_CLASSES 4
#define KTP_BUCKETS 32
#define KTP_TEXT_BYTES 160

// What a fault was served with, for the histogram of latencies.
enum ktp_class { KTP_ZERO, KTP_LOCAL, KTP_REMOTE, KTP_TWICE };

struct ktp_shared {
	uint32_t magic, layout;
	uint64_t pages; // of the image
	uint64_t faults; // pages that a fault asked for first
	uint64_t twice; // faults on pages that were there by then
	uint64_t prewarmed; // pages loaded before a region was given out
	uint64_t prefetched; // pages loaded ahead of their first use
	uint64_t zeros; // of all these, pages of zeros
	uint64_t served_bytes;
	uint64_t left; // pages of data that are not loaded yet; falls
	uint64_t reinstalls; // regions that somebody had taken from us, registered again
	uint64_t forwarded; // faults outside all regions, given to the kernel's own handling: a page of zeros
	uint64_t removed; // pages that the paged process gave back
	uint64_t retries; // copies that had to be tried again, or went on after a part
	uint64_t source_errors; // pages that cannot be had
	uint64_t link_losses; // connections to the source that broke
	uint64_t parked; // faults that wait for the source; rises and falls
	uint64_t drift_checks;
	uint64_t tracer; // process that traces a paged one, or 0
	uint64_t gone_regions; // that could not be registered again
	uint64_t resident_ns; // CLOCK_MONOTONIC at which all pages of data were loaded, or 0
	uint64_t order_count;
	uint64_t latency[KTP_CLASSES]
			[KTP_BUCKETS]; // bucket n: below 2^n microseconds from reading the fault to the page
};

enum ktp_kind {
	// Asked of the pager; it answers with KTP_DONE or KTP_REFUSED.
	KTP_REGISTER =
		1, // a: base, b: length, c: offset in the image, d: page size; comes with the userfaultfd
	KTP_FILL, // a: load what is left, 1, or stop that, 0
	KTP_SHUT_DOWN,
	KTP_LOAD, // a: first page of the image, b: how many; answered when they are there, over either socket
	// Said by the pager.
	KTP_DONE = 16,
	KTP_REFUSED, // text: why
	KTP_RESIDENT, // all pages of data are loaded
	KTP_BAD_PAGE, // a: page of the image; text: why it cannot be had
	KTP_LINK_LOST, // text: why
	KTP_LINK_BACK,
	KTP_REINSTALLED, // a: base of the region
	KTP_REGION_LOST, // a: base; text: why
	KTP_TRACED, // a: process that traces a paged one; 0 when it does no longer
	KTP_TARGET_GONE, // a: process
};

struct ktp_message {
	uint32_t kind, id;
	uint64_t a, b, c, d;
	char text[KTP_TEXT_BYTES];
};
// cffi: end

#endif
