// SPDX-License-Identifier: MIT
//
// Reads pages out of a file of pages (ktstr_tui/memory/pages.py says how it is laid out).
//
// The file is on disk and may be damaged in any way: nothing in it sizes an allocation but its own size, and a page is
// given out only when it has the digest that was asked for.
#ifndef KTSTR_PAGER_STORE_H
#define KTSTR_PAGER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zstd.h>

#define DIGEST_BYTES 16u
#define NOT_STORED UINT64_MAX

struct store_slot {
	uint8_t digest[DIGEST_BYTES];
	uint64_t at; // offset of the record; 0: the slot is empty
};

struct store {
	int fd;
	size_t nr_slots; // a power of two
	size_t nr_pages;
	struct store_slot *slots;
	ZSTD_DCtx *unpack;
};

// Find the records of an open file. Returns 0, or -1 with `*why` set; then nothing is left to close.
int store_open(struct store *store, int fd, const char **why);
void store_close(struct store *store);

// Where the page of a digest is, or NOT_STORED.
uint64_t store_find(const struct store *store, const uint8_t *digest);

// Read the page at an offset that store_find gave. False, with `*why` set, when it is not what was stored.
bool store_read(struct store *store, uint64_t at, const uint8_t *digest, uint8_t *page, const char **why);

// Whether a page has that digest; one of zeros has the digest of 16 zero bytes.
bool is_page_of(const uint8_t *page, const uint8_t *digest);
bool is_zero_digest(const uint8_t *digest);

#endif
