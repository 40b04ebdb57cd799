/* SPDX-License-Identifier: MIT */
/*
 * What the observer writes down instead of holding the machine: executions of noted functions, stores into noted ranges,
 * and where each block of one vCPU began. A debugger that goes back in time asks a second run of the same seed for it:
 * which of these was the last before an instant. Both lists are rings, and only their newest entries are kept.
 */
#ifndef OBSERVER_NOTES_H
#define OBSERVER_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "blocks.h"
#include "page.h"
#include "probes.h"
#include "ranges.h"

struct notes {
	struct ranges ranges;
	struct probes probes;
	uint32_t vcpu; // whose blocks are written down, from 1; 0 for nobody's
	uint64_t began; // the block that is executed, in instructions
};

/* Whether anything is to be noted, so that each block has to be looked at. */
static inline bool notes_wanted(const struct notes *notes)
{
	return notes->ranges.nr || notes->probes.nr || notes->vcpu;
}

/* Take what the backend wants. Returns false, and then nothing is noted, when it is out of bounds. */
bool notes_take(struct notes *notes, const struct observer_page *page);
/* A block of a vCPU is about to be executed; `total` counts it already. */
void notes_block(struct notes *notes, struct observer_page *page, const struct blocks *blocks,
		 struct block block, uint32_t vcpu, uint64_t total);
/* A store of that block is made; all but `began` and `ended` of the note is filled in. */
void notes_store(const struct notes *notes, struct observer_page *page, struct observer_note note,
		 uint64_t total);

#endif
