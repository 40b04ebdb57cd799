// SPDX-License-Identifier: MIT
//
// Encoder and decoder of beats, and CRC-32C.
//
// CRC-32C (polynomial 0x1EDC6F41, reflected 0x82F63B78) is the one CRC that x86 has an instruction for. Where
// SSE4.2 is missing, tables take eight bytes a step. A frame's 28 bytes cost three and a half steps either way. zlib
// has no CRC-32C, hence our own.
#include "ktstr_vlp.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define KTV_HAVE_SSE42 1
#endif

#define VERSION 2
#define CRC_AT 28

static uint32_t crc_table[8][256];
static bool crc_have_sse42;

__attribute__((constructor)) static void crc_setup(void)
{
	for (uint32_t byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (0x82F63B78u & -(crc & 1));
		crc_table[0][byte] = crc;
	}
	for (int i = 1; i < 8; i++)
		for (int byte = 0; byte < 256; byte++) {
			uint32_t before = crc_table[i - 1][byte];
			crc_table[i][byte] = (before >> 8) ^ crc_table[0][before & 255];
		}
#ifdef KTV_HAVE_SSE42
	__builtin_cpu_init();
	crc_have_sse42 = __builtin_cpu_supports("sse4.2");
#endif
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static inline void put32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

static inline void put64(uint8_t *p, uint64_t value)
{
	put32(p, (uint32_t)value);
	put32(p + 4, (uint32_t)(value >> 32));
}

// Both ways work on the inner state, which the callers invert before and after.
static uint32_t crc_by_tables(uint32_t crc, const uint8_t *p, size_t length)
{
	for (; length >= 8; length -= 8, p += 8) {
		uint32_t low = get32(p) ^ crc;
		uint32_t high = get32(p + 4);
		crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^
		      crc_table[4][low >> 24] ^ crc_table[3][high & 255] ^ crc_table[2][high >> 8 & 255] ^
		      crc_table[1][high >> 16 & 255] ^ crc_table[0][high >> 24];
	}
	while (length--)
		crc = (crc >> 8) ^ crc_table[0][(crc ^ *p++) & 255];
	return crc;
}

#ifdef KTV_HAVE_SSE42
__attribute__((target("sse4.2"))) static uint32_t crc_by_sse42(uint32_t crc, const uint8_t *p, size_t length)
{
	uint64_t wide = crc;

	for (; length >= 8; length -= 8, p += 8) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	if (length >= 4) {
		crc = _mm_crc32_u32(crc, get32(p));
		length -= 4;
		p += 4;
	}
	while (length--)
		crc = _mm_crc32_u8(crc, *p++);
	return crc;
}
#endif

static inline uint32_t crc_update(uint32_t crc, const uint8_t *p, size_t length)
{
#ifdef KTV_HAVE_SSE42
	if (crc_have_sse42)
		return crc_by_sse42(crc, p, length);
#endif
	return crc_by_tables(crc, p, length);
}

uint32_t ktv_crc32c(uint32_t crc, const void *data, size_t length)
{
	return ~crc_update(~crc, data, length);
}

uint32_t ktv_crc32c_tables(uint32_t crc, const void *data, size_t length)
{
	return ~crc_by_tables(~crc, data, length);
}

void ktv_encode(const struct ktv_beat *beat, uint8_t frame[KTV_FRAME_SIZE])
{
	frame[0] = 'V';
	frame[1] = 'A';
	frame[2] = VERSION;
	frame[3] = (uint8_t)beat->status;
	put32(frame + 4, beat->pid);
	put64(frame + 8, beat->timestamp);
	put64(frame + 16, beat->nonce);
	put32(frame + 24, beat->payload);
	put32(frame + CRC_AT, ktv_crc32c(0, frame, CRC_AT));
}

enum ktv_error ktv_check(const uint8_t *frame, size_t length)
{
	uint8_t status;

	if (length != KTV_FRAME_SIZE)
		return KTV_BAD_LENGTH;
	if (frame[0] != 'V' || frame[1] != 'A')
		return KTV_BAD_MAGIC;
	if (frame[2] != VERSION)
		return KTV_BAD_VERSION;
	if (get32(frame + CRC_AT) != ktv_crc32c(0, frame, CRC_AT))
		return KTV_BAD_CRC;
	status = frame[3];
	if (status > KTV_STALL)
		return KTV_BAD_STATUS;
	if (status == KTV_STALL)
		return KTV_STALL_ON_WIRE;
	if (get32(frame + 4) <= 1)
		return KTV_BAD_PID;
	if (get64(frame + 8) == UINT64_MAX)
		return KTV_BAD_TIMESTAMP;
	// Only a dying process sends the terminal nonce, and it is in a critical state.
	if (get64(frame + 16) == KTV_NONCE_TERMINAL && status != KTV_CRITICAL)
		return KTV_BAD_NONCE;
	return KTV_GOOD;
}

enum ktv_error ktv_decode(const uint8_t *frame, size_t length, struct ktv_beat *beat)
{
	enum ktv_error error = ktv_check(frame, length);

	if (error != KTV_GOOD)
		return error;
	*beat = (struct ktv_beat){
		.timestamp = get64(frame + 8),
		.nonce = get64(frame + 16),
		.pid = get32(frame + 4),
		.payload = get32(frame + 24),
		.status = frame[3],
	};
	return KTV_GOOD;
}
