// SPDX-License-Identifier: MIT
#include "ktstr_blake2b.h"

#include <string.h>

#define BLOCK_BYTES 128u

static const uint64_t start[8] = {
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};
static const uint8_t order[10][16] = {
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
	{ 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
	{ 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
	{ 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
	{ 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
	{ 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
	{ 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
	{ 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
	{ 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
	{ 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
};

static inline uint64_t turn(uint64_t value, int bits)
{
	return value >> bits | value << (64 - bits);
}

#define MIX(a, b, c, d, x, y)        \
	do {                         \
		a += b + (x);        \
		d = turn(d ^ a, 32); \
		c += d;              \
		b = turn(b ^ c, 24); \
		a += b + (y);        \
		d = turn(d ^ a, 16); \
		c += d;              \
		b = turn(b ^ c, 63); \
	} while (0)

static void compress(uint64_t state[8], const uint8_t *block, uint64_t bytes_so_far, int last)
{
	uint64_t v[16], m[16];

	memcpy(m, block, sizeof(m)); // x86-64 is little-endian, as the digest is
	memcpy(v, state, 8 * sizeof(*v));
	memcpy(v + 8, start, sizeof(start));
	v[12] ^= bytes_so_far;
	if (last)
		v[14] = ~v[14];
	for (int round = 0; round < 12; round++) {
		const uint8_t *s = order[round % 10];

		MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
		MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
		MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
		MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
		MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
		MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
		MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
		MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
	}
	for (int i = 0; i < 8; i++)
		state[i] ^= v[i] ^ v[i + 8];
}

void ktp_blake2b(uint8_t *digest, size_t digest_bytes, const uint8_t *data, size_t bytes)
{
	uint64_t state[8];
	uint8_t tail[BLOCK_BYTES] = { 0 };
	size_t at = 0;

	memcpy(state, start, sizeof(state));
	state[0] ^= 0x01010000u ^ digest_bytes;
	for (; bytes - at > BLOCK_BYTES; at += BLOCK_BYTES)
		compress(state, data + at, at + BLOCK_BYTES, 0);
	if (bytes > at)
		memcpy(tail, data + at, bytes - at);
	compress(state, tail, bytes, 1);
	memcpy(digest, state, digest_bytes);
}
