/* SPDX-License-Identifier: MIT */
/* Instructions that are looked for in each block that is executed: sorted addresses. */
#ifndef OBSERVER_PROBES_H
#define OBSERVER_PROBES_H

#include <stdbool.h>
#include <stdint.h>

#include "blocks.h"
#include "page.h"

struct probes {
	uint64_t at[OBSERVER_PROBES];
	uint32_t nr;
};

/* Take addresses, ascending. Returns false, and then there are none, when they are more than `most`. */
bool probes_take(struct probes *probes, const uint64_t *from, uint32_t nr, uint32_t most);
/* The first in a block that is not before `from`; 0 when there is none. */
uint64_t probes_in(const struct probes *probes, const struct blocks *blocks, struct block block,
		   uint64_t from);

#endif
