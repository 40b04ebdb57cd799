// SPDX-License-Identifier: MIT
#include <stdbool.h>
#include <stdlib.h>

#include "blocks.h"

#define FIRST_CAPACITY (1u << 14)

static struct block *find(const struct blocks *blocks, uint64_t address, uint32_t insns)
{
	uint64_t hash = (address ^ insns) * 0x9e3779b97f4a7c15ull;
	uint32_t i = (uint32_t)(hash >> 32);

	for (;; i++) {
		struct block *at = &blocks->at[i & (blocks->capacity - 1)];

		if (!at->bytes || (at->address == address && at->insns == insns))
			return at;
	}
}

static bool grow(struct blocks *blocks)
{
	struct blocks more = { .capacity = blocks->capacity ? 2 * blocks->capacity : FIRST_CAPACITY };

	more.at = calloc(more.capacity, sizeof(*more.at));
	if (!more.at)
		return false;
	for (uint32_t i = 0; i < blocks->capacity; i++) {
		const struct block *from = &blocks->at[i];

		if (from->bytes)
			*find(&more, from->address, from->insns) = *from;
	}
	more.nr = blocks->nr;
	free(blocks->at);
	*blocks = more;
	return true;
}

void blocks_note(struct blocks *blocks, struct block block)
{
	struct block *at;

	if (!block.bytes || (blocks->nr >= blocks->capacity / 2 && !grow(blocks)))
		return;
	at = find(blocks, block.address, block.insns);
	blocks->nr += !at->bytes;
	*at = block;
}

uint32_t blocks_bytes(const struct blocks *blocks, uint64_t address, uint32_t insns)
{
	uint32_t bytes = blocks->capacity ? find(blocks, address, insns)->bytes : 0;

	return bytes ? bytes : 1;
}
