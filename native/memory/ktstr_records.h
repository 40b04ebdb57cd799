// SPDX-License-Identifier: MIT
//
// Finds the records of a file of pages (ktstr_tui/memory/pages.py says how it is laid out), a window of it at a time.
//
// The file may be damaged in any way: a header that is not what was written ends the search.
#ifndef KTSTR_RECORDS_H
#define KTSTR_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// cffi: begin
#define KTM_DIGEST_BYTES 16
#define KTM_HEADER_BYTES 24

// How far a search has come.
struct ktm_search {
	// Offset of the next header, in the file.
	uint64_t at;
	// Of the file.
	uint64_t size;
	// Whether the header there is damaged, or the record does not end within the file.
	bool damaged;
	bool torn;
};

// Find the records whose headers lie in a window of the file, from `search->at` on, which is in it. Writes the digest and
// the offset of each; there is room for as many as the window has headers. Returns how many.
size_t ktm_find_records(struct ktm_search *search, const uint8_t *window, uint64_t window_at, size_t length,
			uint8_t *digests, uint64_t *offsets);
// cffi: end

#endif
