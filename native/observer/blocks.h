/* SPDX-License-Identifier: MIT */
/*
 * How many bytes each block of the kernel's code has, so that a probe in the middle of one is noticed where it begins:
 * within a block the emulator cannot be held at any instruction without every instruction paying for it.
 */
#ifndef OBSERVER_BLOCKS_H
#define OBSERVER_BLOCKS_H

#include <stdint.h>

struct block {
	uint64_t address;
	uint32_t insns, bytes;
};

struct blocks {
	struct block *at; // hashed by address and instructions, a power of two of them
	uint32_t capacity, nr;
};

/* Remember a block that was translated. Without memory for it nothing is remembered. */
void blocks_note(struct blocks *blocks, struct block block);
/* The bytes of a block; 1 when they are not known. */
uint32_t blocks_bytes(const struct blocks *blocks, uint64_t address, uint32_t insns);

#endif
