// SPDX-License-Identifier: MIT
//
// What /proc says of a paged process. The texts are the kernel's, but a name in them may be anybody's.
#ifndef KTSTR_PAGER_MAPS_H
#define KTSTR_PAGER_MAPS_H

#include <stdbool.h>
#include <stdint.h>

// Whether all of [base, base + bytes) is registered with a userfaultfd, by the text of a smaps file: its mappings have
// the flag `um`. Give it line by line.
struct registered {
	uint64_t base, end;
	uint64_t reached; // all from base up to here is registered
	uint64_t first, last; // of the mapping whose lines come
};

void registered_begin(struct registered *it, uint64_t base, uint64_t bytes);
void registered_line(struct registered *it, const char *line);
static inline bool registered_wholly(const struct registered *it)
{
	return it->reached >= it->end;
}

// The number of a line `TracerPid:`; -1 for any other line.
long tracer_line(const char *line);

#endif
