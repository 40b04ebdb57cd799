// SPDX-License-Identifier: MIT
#include "ktstr_copy.h"

#include <string.h>

#define PAGE_BYTES 4096u

uint64_t ktm_copy_changed(void *to, const void *from, size_t bytes)
{
	uint64_t changed = 0;
	char *at = to;
	const char *source = from;

	for (size_t done = 0; done + PAGE_BYTES <= bytes; done += PAGE_BYTES) {
		if (!memcmp(at + done, source + done, PAGE_BYTES))
			continue;
		memcpy(at + done, source + done, PAGE_BYTES);
		changed++;
	}
	return changed;
}
