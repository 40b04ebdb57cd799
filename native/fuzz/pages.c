// SPDX-License-Identifier: MIT
//
// Fuzz target: the pager's reader of a file of pages, and of what /proc says of a paged process.
//
// The input is a file, damaged in any way. Whatever is found in it is read; a page that is given out has the digest that
// was asked for. The same bytes are taken as lines of smaps.
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../frames/ktstr_frames.c"
#include "../pager/ktstr_blake2b.c"
#include "../pager/maps.c"
#include "../pager/store.c"
#include "script.h"

static void read_pages(const uint8_t *data, size_t size)
{
	int fd = memfd_create("ktstr-fuzz", MFD_CLOEXEC);
	uint8_t page[KTP_PAGE_BYTES], digest[DIGEST_BYTES];
	const char *why = NULL;
	struct store store;

	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	if (store_open(&store, fd, &why)) {
		MUST(why);
		close(fd);
		return;
	}
	MUST(store.nr_pages <= size / sizeof(struct record));
	for (size_t i = 0; i < store.nr_slots; i++) {
		const struct store_slot *slot = &store.slots[i];

		if (!slot->at)
			continue;
		MUST(store_find(&store, slot->digest) == slot->at);
		if (!store_read(&store, slot->at, slot->digest, page, &why))
			continue;
		ktp_blake2b(digest, sizeof(digest), page, sizeof(page));
		MUST(!memcmp(digest, slot->digest, sizeof(digest)) || is_zero_digest(slot->digest));
	}
	store_close(&store);
	close(fd);
}

static void read_lines(const uint8_t *data, size_t size)
{
	struct registered registered;
	char text[2049], *rest, *line;

	size = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	memcpy(text, data, size);
	text[size] = 0;
	registered_begin(&registered, 0x7000, 0x3000);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		registered_line(&registered, line);
		tracer_line(line);
		MUST(registered.reached >= registered.base);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_pages(data, size);
	read_lines(data, size);
	return 0;
}
