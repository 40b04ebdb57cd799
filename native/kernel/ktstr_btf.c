// SPDX-License-Identifier: MIT

#include "kernel/ktstr_btf.h"

#define ENUM 6
#define ENUM64 19

// Words of a record: those that all of a kind have, and those for each of its entries.
static const struct {
	uint8_t fixed;
	uint8_t each;
} kinds[32] = {
	[0] = { 3, 0 },	 [1] = { 4, 0 },  [2] = { 3, 0 },  [3] = { 6, 0 },  [4] = { 3, 3 },
	[5] = { 3, 3 },	 [6] = { 3, 2 },  [7] = { 3, 0 },  [8] = { 3, 0 },  [9] = { 3, 0 },
	[10] = { 3, 0 }, [11] = { 3, 0 }, [12] = { 3, 0 }, [13] = { 3, 2 }, [14] = { 4, 0 },
	[15] = { 3, 3 }, [16] = { 3, 0 }, [17] = { 4, 0 }, [18] = { 3, 0 }, [19] = { 3, 3 },
};

static unsigned int kind_of(const uint32_t *record)
{
	return record[1] >> 24 & 31;
}

int ktb_index(const uint32_t *words, size_t length, struct ktb_index *index)
{
	size_t at = 0;
	index->count = index->named = 0;
	while (at + 2 < length) {
		unsigned int kind = kind_of(words + at);
		if (!kinds[kind].fixed)
			break;
		if (index->kinds >> kind & 1 && words[at]) {
			index->names[index->named] = (uint64_t)words[at] << 5 | kind;
			index->places[index->named++] = index->count;
		}
		index->starts[index->count++] = (uint32_t)at;
		at += kinds[kind].fixed + (size_t)kinds[kind].each * (words[at + 1] & 0xffff);
	}
	index->at = at;
	return at == length ? 0 : -1;
}

size_t ktb_enumerators(const uint32_t *words, const uint32_t *starts, uint32_t count, uint32_t *names,
		       uint32_t *places)
{
	size_t found = 0;
	for (uint32_t k = 0; k < count; k++) {
		const uint32_t *record = words + starts[k];
		unsigned int kind = kind_of(record);
		if (kind != ENUM && kind != ENUM64)
			continue;
		uint32_t entries = record[1] & 0xffff;
		for (uint32_t entry = 0; names && entry < entries; entry++) {
			names[found + entry] = record[3 + entry * kinds[kind].each];
			places[found + entry] = k;
		}
		found += entries;
	}
	return found;
}
