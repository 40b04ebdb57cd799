// SPDX-License-Identifier: MIT
#include <string.h>

#include "probes.h"

#define BLOCK_BYTES 8192 // no block is longer: it ends with the page after the one that it begins in

bool probes_take(struct probes *probes, const uint64_t *from, uint32_t nr, uint32_t most)
{
	probes->nr = 0;
	if (nr > most)
		return false;
	memcpy(probes->at, from, nr * sizeof(*from));
	probes->nr = nr;
	return true;
}

uint64_t probes_in(const struct probes *probes, const struct blocks *blocks, struct block block,
		   uint64_t from)
{
	uint32_t low = 0, high = probes->nr;
	uint64_t found;

	if (from < block.address)
		return 0; // behind the end of the address space
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (probes->at[middle] < from)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == probes->nr)
		return 0;
	found = probes->at[low];
	if (found - block.address > BLOCK_BYTES)
		return 0;
	return found - block.address < blocks_bytes(blocks, block.address, block.insns) ? found : 0;
}
