// SPDX-License-Identifier: MIT
//
// kallsyms: the symbol table that a kernel carries in its own memory, unpacked and searched.
//
// Mirrors kernel/kallsyms.c. Names are a run of records: a length (one byte, or two when bit 7 of the first is set: seven
// bits of it, then the next eight from bit 7 on) and so many bytes, each of which stands for a token. A token is text; the
// first character of a name is the type of nm(1). All of it is the guest's: every length is checked.
#ifndef KTSTR_KALLSYMS_H
#define KTSTR_KALLSYMS_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
// How an address is made of a symbol's offset.
#define KTK_RELATIVE 0
// The same, but an offset that is not negative is the address of a per-CPU variable (up to Linux 6.14).
#define KTK_PERCPU 1
// Relative to where the offset is.
#define KTK_PLACE 2

// The tables as they are in the kernel's memory.
struct ktk_packed {
	const uint8_t *names;
	size_t names_bytes;
	const uint8_t *tokens;
	size_t tokens_bytes;
	// Where each of the 256 tokens begins.
	const uint8_t *token_index;
	uint32_t count;
};

// The names unpacked, and found by a hash. All arrays belong to the caller.
struct ktk_names {
	const char *text;
	const uint32_t *starts;
	uint32_t *heads;
	uint32_t *next;
	uint32_t count;
	// One less than the length of `heads`, a power of two.
	uint32_t mask;
};

// Write all names, type first, each with a NUL behind it, and where each begins. With `text` NULL nothing is written.
// Returns the bytes of all; 0 when a record or a token is outside its table, or `bytes` are too few.
size_t ktk_unpack(const struct ktk_packed *packed, char *text, size_t bytes, uint32_t *starts);

// Write the address of each symbol. Returns 0; -1 when they do not ascend.
int ktk_place(const int32_t *offsets, uint32_t count, uint64_t base, int how, uint64_t *addresses);

// Fill `heads` and `next`.
void ktk_hash(struct ktk_names *names);

// The first symbol of a name (without its type) behind number `after`, or from the first on when that is -1. Returns -1
// when there is none.
int64_t ktk_find(const struct ktk_names *names, const char *name, size_t length, int64_t after);
// cffi: end

#endif
