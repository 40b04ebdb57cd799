// SPDX-License-Identifier: MIT
//
// A fixed map from 32-bit keys to slot numbers: open addressing, linear probing, never more than
// KTB_MAX_PROBE places per operation, no growth and no rehashing.
//
// A place that is given up becomes a tombstone, so that keys behind it are still found. Inserting takes the first
// free place on its way, tombstone or empty; that it takes a tombstone also when no empty place is in reach is
// what keeps a table usable in which keys come and go for years.
#ifndef KTSTR_PROBE_H
#define KTSTR_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// cffi: begin
#define KTB_MAX_PROBE 64
#define KTB_EMPTY 0xFFFFFFFFu
#define KTB_TOMBSTONE 0xFFFFFFFEu
#define KTB_MAX_SLOT 0xFFFFFFFDu
// Places of the largest table.
#define KTB_MAX_PLACES (1u << 20)

struct ktb_entry {
	uint32_t key;
	uint32_t slot; // or KTB_EMPTY, KTB_TOMBSTONE
};

struct ktb_probe {
	struct ktb_entry *entries;
	uint32_t mask; // places - 1; a power of two less one
	uint32_t live;
	uint64_t exhausted; // inserts refused
};

// The finaliser of MurmurHash3.
static inline uint32_t ktb_mix32(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x85ebca6bu;
	x ^= x >> 13;
	x *= 0xc2b2ae35u;
	return x ^ x >> 16;
}

// A table of at least twice `capacity` places. Returns false without memory or when that is too many.
bool ktb_probe_init(struct ktb_probe *p, uint32_t capacity);
void ktb_probe_fini(struct ktb_probe *p);

// The same on the heap, for Python.
struct ktb_probe *ktb_probe_create(uint32_t capacity);
void ktb_probe_destroy(struct ktb_probe *p);

// The slot of a key, or KTB_EMPTY.
uint32_t ktb_probe_get(const struct ktb_probe *p, uint32_t key);
// Keep or change the slot of a key. Returns false, and counts it, when no place is left within reach.
bool ktb_probe_insert(struct ktb_probe *p, uint32_t key, uint32_t slot);
// Forget a key. Returns the slot it had, or KTB_EMPTY.
uint32_t ktb_probe_remove(struct ktb_probe *p, uint32_t key);
// cffi: end

#endif
