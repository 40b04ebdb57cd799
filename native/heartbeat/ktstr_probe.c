// SPDX-License-Identifier: MIT
#include "ktstr_probe.h"

#include <stdlib.h>

_Static_assert(sizeof(struct ktb_entry) == 8, "eight entries to a cache line");

static inline uint32_t reach(const struct ktb_probe *p)
{
	return p->mask < KTB_MAX_PROBE ? p->mask + 1 : KTB_MAX_PROBE;
}

// The place of a key, or NULL. `*free` is the first place on the way that it could take, or NULL.
static struct ktb_entry *find(const struct ktb_probe *p, uint32_t key, struct ktb_entry **free)
{
	uint32_t home = ktb_mix32(key);
	uint32_t left = reach(p);

	*free = NULL;
	for (uint32_t step = 0; step < left; step++) {
		struct ktb_entry *entry = &p->entries[(home + step) & p->mask];

		if (entry->slot < KTB_TOMBSTONE) {
			if (entry->key == key)
				return entry;
			continue;
		}
		if (!*free)
			*free = entry;
		if (entry->slot == KTB_EMPTY)
			return NULL;
	}
	return NULL;
}

bool ktb_probe_init(struct ktb_probe *p, uint32_t capacity)
{
	uint32_t places = 2;

	*p = (struct ktb_probe){ 0 };
	if (capacity > KTB_MAX_PLACES / 2)
		return false;
	while (places < 2 * capacity)
		places *= 2;
	p->entries = malloc(places * sizeof(*p->entries));
	if (!p->entries)
		return false;
	for (uint32_t i = 0; i < places; i++)
		p->entries[i] = (struct ktb_entry){ .slot = KTB_EMPTY };
	p->mask = places - 1;
	return true;
}

void ktb_probe_fini(struct ktb_probe *p)
{
	free(p->entries);
}

struct ktb_probe *ktb_probe_create(uint32_t capacity)
{
	struct ktb_probe *p = malloc(sizeof(*p));

	if (p && !ktb_probe_init(p, capacity)) {
		free(p);
		p = NULL;
	}
	return p;
}

void ktb_probe_destroy(struct ktb_probe *p)
{
	ktb_probe_fini(p);
	free(p);
}

uint32_t ktb_probe_get(const struct ktb_probe *p, uint32_t key)
{
	struct ktb_entry *unused;
	const struct ktb_entry *entry = find(p, key, &unused);

	return entry ? entry->slot : KTB_EMPTY;
}

bool ktb_probe_insert(struct ktb_probe *p, uint32_t key, uint32_t slot)
{
	struct ktb_entry *vacant;
	struct ktb_entry *entry = find(p, key, &vacant);

	if (!entry) {
		if (!vacant) {
			p->exhausted++;
			return false;
		}
		entry = vacant;
		p->live++;
	}
	*entry = (struct ktb_entry){ .key = key, .slot = slot };
	return true;
}

uint32_t ktb_probe_remove(struct ktb_probe *p, uint32_t key)
{
	struct ktb_entry *unused;
	struct ktb_entry *entry = find(p, key, &unused);
	uint32_t slot;

	if (!entry)
		return KTB_EMPTY;
	slot = entry->slot;
	entry->slot = KTB_TOMBSTONE;
	p->live--;
	return slot;
}
