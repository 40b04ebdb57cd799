// SPDX-License-Identifier: MIT
#include "maps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void registered_begin(struct registered *it, uint64_t base, uint64_t bytes)
{
	*it = (struct registered){ .base = base, .end = base + bytes, .reached = base };
}

// "VmFlags: rd wr sh mr mw me ms um": two letters each.
static bool has_flag(const char *line, const char *flag)
{
	for (const char *at = strchr(line, ' '); at; at = strchr(at + 1, ' ')) {
		if (!strncmp(at + 1, flag, 2) && (!at[3] || at[3] == ' ' || at[3] == '\n'))
			return true;
	}
	return false;
}

void registered_line(struct registered *it, const char *line)
{
	char *end;
	uint64_t first = strtoull(line, &end, 16);

	if (end != line && *end == '-') {
		it->first = first;
		it->last = strtoull(end + 1, NULL, 16);
		return;
	}
	if (strncmp(line, "VmFlags:", 8) || !has_flag(line, "um"))
		return;
	if (it->first <= it->reached && it->last > it->reached)
		it->reached = it->last;
}

long tracer_line(const char *line)
{
	return strncmp(line, "TracerPid:", 10) ? -1 : strtol(line + 10, NULL, 10);
}
