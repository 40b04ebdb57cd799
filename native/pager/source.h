// SPDX-License-Identifier: MIT
//
// Where the pages of an image come from: our store, a raw file, or another process over a unix socket.
//
// With digests every page is compared with its own before anybody sees it, wherever it came from. Without, as for a raw
// file that nothing describes, it is taken as it is.
//
// Over a socket (which ssh may forward to another machine) a request is two u64, little-endian: the offset in the
// image and the page size. The answer has the same two and the page behind; a page size of 0 means that the other side
// cannot read that page. A connection that breaks, answers too late or answers something else is closed and made
// again; the page waits meanwhile.
#ifndef KTSTR_PAGER_SOURCE_H
#define KTSTR_PAGER_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "ktstr_page.h"
#include "store.h"

enum source_kind { SOURCE_STORE, SOURCE_RAW, SOURCE_SOCKET };

enum fetched {
	FETCHED,
	FETCHED_ZEROS, // the buffer holds nothing: the page is zeros
	FETCH_LATER, // the source is away
	FETCH_NEVER, // the page cannot be had; `why` says why
};

struct source {
	enum source_kind kind;
	uint64_t nr_pages;
	const uint8_t *digests; // nr_pages of DIGEST_BYTES, or NULL
	const char *why;
	// store, also that of what came before from the other end of a socket
	struct store store;
	uint64_t *places; // of each page in the store; NULL for none
	bool from_here; // the page that was fetched last
	// raw
	int fd;
	// socket
	const char *path;
	int link; // or -1
	int deadline_ms;
	uint64_t try_again_ns;
	uint64_t losses;
};

// Take what is at hand: an open store or file, or the path of a socket, whose connection is made when it is needed, with
// a store of pages that came before, or -1.
bool source_open(struct source *source, int fd, const char *path);

// Whether a page is known to be zeros without asking.
bool source_is_zeros(const struct source *source, uint64_t page);

// Fetch one page; `page` is below nr_pages.
enum fetched source_fetch(struct source *source, uint64_t page, uint8_t *out);

uint64_t now_ns(void);

#endif
