// SPDX-License-Identifier: MIT
//
// Reading decisions out of a fuzzer's input. Where it ends, zeros follow: every input is a whole program.
#ifndef KTSTR_FUZZ_SCRIPT_H
#define KTSTR_FUZZ_SCRIPT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// As assert(), but never compiled out.
#define MUST(condition)                                                                           \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

struct script {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t take8(struct script *s)
{
	if (!s->left)
		return 0;
	s->left--;
	return *s->at++;
}

static inline uint16_t take16(struct script *s)
{
	uint16_t low = take8(s);

	return (uint16_t)(low | take8(s) << 8);
}

static inline uint32_t take32(struct script *s)
{
	uint32_t low = take16(s);

	return low | (uint32_t)take16(s) << 16;
}

static inline uint64_t take64(struct script *s)
{
	uint64_t low = take32(s);

	return low | (uint64_t)take32(s) << 32;
}

// Up to `wanted` bytes; `*got` says how many there were.
static inline const uint8_t *take_bytes(struct script *s, size_t wanted, size_t *got)
{
	const uint8_t *bytes = s->at;

	*got = wanted < s->left ? wanted : s->left;
	s->at += *got;
	s->left -= *got;
	return bytes;
}

#endif
