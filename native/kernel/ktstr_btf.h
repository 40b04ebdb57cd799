// SPDX-License-Identifier: MIT
//
// BTF: one pass over the type records of a kernel, which have no table of contents.
//
// Mirrors include/uapi/linux/btf.h as ktstr_tui/kernel/btf.py tells it. The words are the guest's: nothing outside them is
// read, whatever they say.
#ifndef KTSTR_BTF_H
#define KTSTR_BTF_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
// What a pass over the records found. The arrays are the caller's and have room for a third of the words each.
struct ktb_index {
	// The word at which each record begins.
	uint32_t *starts;
	// Of each record of a kind in the bit mask `kinds` that has a name: its offset times 32 plus the kind, and its place.
	uint64_t *names;
	uint32_t *places;
	uint32_t kinds;
	uint32_t count;
	uint32_t named;
	// The word at which the pass ended; that of a record of unknown kind, or that of the end.
	size_t at;
};

// Find all records. Returns 0; -1 when one is of unknown kind, or the last is cut short.
int ktb_index(const uint32_t *words, size_t length, struct ktb_index *index);

// Write the name of each enumerator and the place of its type. With `names` NULL nothing is written. Returns how many.
size_t ktb_enumerators(const uint32_t *words, const uint32_t *starts, uint32_t count, uint32_t *names,
		       uint32_t *places);
// cffi: end

#endif
