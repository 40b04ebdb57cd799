// SPDX-License-Identifier: MIT
//
// CRC-32 IEEE (reflected 0xEDB88320), for inclusion by ktstr_frames.c only.
//
// zlib computes the same. This is our own because every byte of the port passes through it, and it is three times as
// fast on payloads of 64 KiB (`ktstr-tui bench frames` measures both).
//
// Two ways, chosen when the program starts: tables that take 16 bytes a step, and carry-less multiplication.
// The latter rests on one fact: a CRC is the remainder of the message as a polynomial, so 16 bytes may be
// replaced by any other 16 bytes further on that leave the same remainder. Multiplying them by x^n mod P moves
// them n bits ahead. Four lanes of 16 bytes are moved by 512 bits a step and XORed with what is there; the
// lanes are merged, and the tables do the last 16 bytes and the tail, so no separate reduction is needed.
#ifndef KTSTR_CRC_H
#define KTSTR_CRC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ktstr_bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define KTF_HAVE_CLMUL 1
#endif

static uint32_t crc_table[16][256];
static bool crc_have_clmul;

__attribute__((constructor)) static void crc_setup(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1));
		crc_table[0][byte] = crc;
	}
	for (int i = 1; i < 16; i++)
		for (int byte = 0; byte < 256; byte++) {
			uint32_t before = crc_table[i - 1][byte];
			crc_table[i][byte] = (before >> 8) ^ crc_table[0][before & 255];
		}
#ifdef KTF_HAVE_CLMUL
	__builtin_cpu_init();
	crc_have_clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2");
#endif
}

// All functions below work on the inner state: inverted once at the start and once at the end by the caller.
static inline uint32_t crc_bytes(uint32_t crc, const uint8_t *p, size_t length)
{
	while (length--)
		crc = (crc >> 8) ^ crc_table[0][(crc ^ *p++) & 255];
	return crc;
}

static inline uint32_t crc_four(int first, uint32_t word)
{
	return crc_table[first][word & 255] ^ crc_table[first - 1][word >> 8 & 255] ^
	       crc_table[first - 2][word >> 16 & 255] ^ crc_table[first - 3][word >> 24];
}

static uint32_t crc_by_tables(uint32_t crc, const uint8_t *p, size_t length)
{
	for (; length >= 16; length -= 16, p += 16)
		crc = crc_four(15, get32(p) ^ crc) ^ crc_four(11, get32(p + 4)) ^ crc_four(7, get32(p + 8)) ^
		      crc_four(3, get32(p + 12));
	for (; length >= 4; length -= 4, p += 4)
		crc = crc_four(3, get32(p) ^ crc);
	return crc_bytes(crc, p, length);
}

#ifdef KTF_HAVE_CLMUL
// Move `x` ahead by the distance in `k` (low half by k[0], high half by k[1]) onto `onto`.
__attribute__((target("pclmul,sse2"), always_inline)) static inline __m128i crc_fold(__m128i x, __m128i k,
										     __m128i onto)
{
	__m128i low = _mm_clmulepi64_si128(x, k, 0x00);
	__m128i high = _mm_clmulepi64_si128(x, k, 0x11);
	return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

__attribute__((target("pclmul,sse2"))) static uint32_t crc_by_clmul(uint32_t crc, const uint8_t *p,
								    size_t length)
{
	// Reflected x^(512+32), x^(512-32) and x^(128+32), x^(128-32) mod P, one bit up as reflection wants it.
	const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
	const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
	const __m128i *in = (const __m128i *)p;
	__m128i lane[4];
	uint8_t last[16];

	for (int i = 0; i < 4; i++)
		lane[i] = _mm_loadu_si128(in++);
	lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128((int)crc));
	for (length -= 64; length >= 64; length -= 64, in += 4)
		for (int i = 0; i < 4; i++)
			lane[i] = crc_fold(lane[i], by_512, _mm_loadu_si128(in + i));
	for (int i = 1; i < 4; i++)
		lane[i] = crc_fold(lane[i - 1], by_128, lane[i]);
	for (; length >= 16; length -= 16)
		lane[3] = crc_fold(lane[3], by_128, _mm_loadu_si128(in++));
	_mm_storeu_si128((__m128i *)last, lane[3]);
	crc = crc_by_tables(0, last, sizeof(last));
	return crc_by_tables(crc, (const uint8_t *)in, length);
}
#endif

static inline uint32_t crc_update(uint32_t crc, const uint8_t *p, size_t length)
{
#ifdef KTF_HAVE_CLMUL
	if (length >= 128 && crc_have_clmul)
		return crc_by_clmul(crc, p, length);
#endif
	return crc_by_tables(crc, p, length);
}

#endif
