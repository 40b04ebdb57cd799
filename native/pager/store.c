// SPDX-License-Identifier: MIT
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../frames/ktstr_frames.h"
#include "ktstr_blake2b.h"
#include "ktstr_page.h"

#define MAGIC "KTPAGES1"
#define MAGIC_BYTES 8u
#define WINDOW_BYTES (1u << 20)

// Of a frame of zstd (RFC 8878, 3.1.1): where its descriptor is, and the bit of it that says that a checksum follows.
#define DESCRIPTOR_AT 4u
#define HAS_CHECKSUM 4u

enum stored { STORED_RAW, STORED_ZSTD };

struct __attribute__((packed)) record {
	uint8_t digest[DIGEST_BYTES];
	uint16_t length;
	uint16_t kind;
	uint32_t crc; // of the fields before it
};

// A part of the file, read ahead while its records are found.
struct window {
	int fd;
	uint64_t at;
	size_t length;
	uint8_t *bytes;
};

static bool is_sound(const struct record *record)
{
	return ktf_crc32(0, (const uint8_t *)record, offsetof(struct record, crc)) == record->crc &&
	       record->kind <= STORED_ZSTD && record->length && record->length <= KTP_PAGE_BYTES;
}

static bool look(struct window *window, uint64_t at, struct record *record)
{
	if (at < window->at || at + sizeof(*record) > window->at + window->length) {
		ssize_t got = pread(window->fd, window->bytes, WINDOW_BYTES, (off_t)at);

		if (got < (ssize_t)sizeof(*record))
			return false;
		window->at = at;
		window->length = (size_t)got;
	}
	memcpy(record, window->bytes + (at - window->at), sizeof(*record));
	return true;
}

static struct store_slot *slot_of(const struct store *store, const uint8_t *digest)
{
	uint64_t hash;
	size_t i;

	memcpy(&hash, digest, sizeof(hash));
	for (i = hash & (store->nr_slots - 1); store->slots[i].at; i = (i + 1) & (store->nr_slots - 1)) {
		if (!memcmp(store->slots[i].digest, digest, DIGEST_BYTES))
			break;
	}
	return &store->slots[i];
}

static bool grow(struct store *store)
{
	struct store_slot *old = store->slots;
	size_t nr_old = store->nr_slots;

	store->nr_slots = nr_old ? nr_old * 2 : 1024;
	store->slots = calloc(store->nr_slots, sizeof(*store->slots));
	if (!store->slots) {
		store->slots = old;
		store->nr_slots = nr_old;
		return false;
	}
	for (size_t i = 0; i < nr_old; i++) {
		if (old[i].at)
			*slot_of(store, old[i].digest) = old[i];
	}
	free(old);
	return true;
}

// From the first damaged header on nothing is found: where the next record begins is not known.
static bool find_records(struct store *store, struct window *window, uint64_t size)
{
	struct record record;
	uint64_t at = MAGIC_BYTES;

	while (at + sizeof(record) <= size && look(window, at, &record) && is_sound(&record) &&
	       at + sizeof(record) + record.length <= size) {
		struct store_slot *slot;

		if (store->nr_pages * 2 >= store->nr_slots && !grow(store))
			return false;
		slot = slot_of(store, record.digest);
		store->nr_pages += !slot->at;
		memcpy(slot->digest, record.digest, DIGEST_BYTES);
		slot->at = at;
		at += sizeof(record) + record.length;
	}
	return true;
}

int store_open(struct store *store, int fd, const char **why)
{
	struct window window = { .fd = fd };
	uint8_t magic[MAGIC_BYTES];
	struct stat stat;
	bool whole = false;

	*store = (struct store){ .fd = fd };
	if (fstat(fd, &stat) || pread(fd, magic, sizeof(magic), 0) != sizeof(magic) ||
	    memcmp(magic, MAGIC, sizeof(magic))) {
		*why = "it is not a file of pages";
		return -1;
	}
	window.bytes = malloc(WINDOW_BYTES);
	store->unpack = ZSTD_createDCtx();
	if (window.bytes && store->unpack && grow(store))
		whole = find_records(store, &window, (uint64_t)stat.st_size);
	free(window.bytes);
	if (whole)
		return 0;
	*why = "no memory for the index of its pages";
	store_close(store);
	return -1;
}

void store_close(struct store *store)
{
	free(store->slots);
	ZSTD_freeDCtx(store->unpack);
	*store = (struct store){ .fd = -1 };
}

uint64_t store_find(const struct store *store, const uint8_t *digest)
{
	uint64_t at = slot_of(store, digest)->at;

	return at ? at : NOT_STORED;
}

bool is_zero_digest(const uint8_t *digest)
{
	static const uint8_t zero[DIGEST_BYTES];

	return !memcmp(digest, zero, DIGEST_BYTES);
}

bool is_page_of(const uint8_t *page, const uint8_t *digest)
{
	uint8_t found[DIGEST_BYTES];

	if (is_zero_digest(digest))
		return !page[0] && !memcmp(page, page + 1, KTP_PAGE_BYTES - 1);
	ktp_blake2b(found, sizeof(found), page, KTP_PAGE_BYTES);
	return !memcmp(found, digest, sizeof(found));
}

bool store_read(struct store *store, uint64_t at, const uint8_t *digest, uint8_t *page, const char **why)
{
	uint8_t bytes[sizeof(struct record) + KTP_PAGE_BYTES];
	struct record record;
	ssize_t got = pread(store->fd, bytes, sizeof(bytes), (off_t)at);

	*why = "it is not what was stored";
	if (got < (ssize_t)sizeof(record)) {
		*why = got < 0 ? strerror(errno) : "the file of pages became shorter";
		return false;
	}
	memcpy(&record, bytes, sizeof(record));
	if (!is_sound(&record) || memcmp(record.digest, digest, DIGEST_BYTES) ||
	    (size_t)got < sizeof(record) + record.length)
		return false;
	if (record.kind == STORED_ZSTD) {
		size_t made = ZSTD_decompressDCtx(store->unpack, page, KTP_PAGE_BYTES, bytes + sizeof(record),
						  record.length);

		if (made != KTP_PAGE_BYTES)
			return false;
		// zstd has compared the checksum of what it unpacked, in a tenth of the time that the digest takes. The
		// record's own checksum says that this is the page of that digest.
		if (bytes[sizeof(record) + DESCRIPTOR_AT] & HAS_CHECKSUM)
			return true;
	} else if (record.length == KTP_PAGE_BYTES) {
		memcpy(page, bytes + sizeof(record), KTP_PAGE_BYTES);
	} else {
		return false;
	}
	return is_page_of(page, digest);
}
