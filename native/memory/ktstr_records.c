// SPDX-License-Identifier: MIT

#include "memory/ktstr_records.h"

#include <string.h>

#include "frames/ktstr_frames.h"

#define PAGE_BYTES 4096
#define LAST_KIND 1

struct __attribute__((packed)) header {
	uint8_t digest[KTM_DIGEST_BYTES];
	uint16_t length;
	uint16_t kind;
	uint32_t crc; // of the fields before it
};

size_t ktm_find_records(struct ktm_search *search, const uint8_t *window, uint64_t window_at, size_t length,
			uint8_t *digests, uint64_t *offsets)
{
	size_t found = 0;
	struct header header;

	while (search->at + sizeof(header) <= window_at + length) {
		memcpy(&header, window + (search->at - window_at), sizeof(header));
		if (ktf_crc32(0, (const uint8_t *)&header, offsetof(struct header, crc)) != header.crc ||
		    header.kind > LAST_KIND || !header.length || header.length > PAGE_BYTES) {
			search->damaged = true;
			break;
		}
		if (search->at + sizeof(header) + header.length > search->size) {
			search->torn = true;
			break;
		}
		memcpy(digests + found * KTM_DIGEST_BYTES, header.digest, KTM_DIGEST_BYTES);
		offsets[found++] = search->at;
		search->at += sizeof(header) + header.length;
	}
	return found;
}
