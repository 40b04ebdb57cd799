// SPDX-License-Identifier: MIT
//
// Beats: the 32-byte frames of the Varta Lifeline Protocol, version 0.2.
//
// All integers are unsigned and little-endian:
//
//	 0	u8[2]	magic		"VA"
//	 2	u8	version		2
//	 3	u8	status		0 ok, 1 degraded, 2 critical, 3 stall (never legal on the wire)
//	 4	u32	pid		of the sender in its own namespace; 0 and 1 are refused
//	 8	u64	timestamp	the sender's own clock; UINT64_MAX is refused
//	16	u64	nonce		from 1 on, one more with each beat; UINT64_MAX is the terminal nonce
//	24	u32	payload		a word of the application's
//	28	u32	crc32c		CRC-32C over bytes 0..27
//
// The same source serves the host's Python module and senders in C. C11 and libc only.
#ifndef KTSTR_VLP_H
#define KTSTR_VLP_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
#define KTV_FRAME_SIZE 32
#define KTV_NONCE_TERMINAL UINT64_MAX

enum ktv_status {
	KTV_OK,
	KTV_DEGRADED,
	KTV_CRITICAL,
	KTV_STALL,
};

// In the order of the protocol's list, which is not the order of the checks.
enum ktv_error {
	KTV_GOOD,
	KTV_BAD_MAGIC,
	KTV_BAD_VERSION,
	KTV_BAD_STATUS,
	KTV_BAD_PID,
	KTV_BAD_TIMESTAMP,
	KTV_BAD_NONCE,
	KTV_STALL_ON_WIRE,
	KTV_BAD_CRC,
	KTV_BAD_LENGTH, // not a frame at all: dropped before it is decoded
	KTV_ERRORS,
};

struct ktv_beat {
	uint64_t timestamp;
	uint64_t nonce;
	uint32_t pid;
	uint32_t payload;
	uint32_t status;
	uint32_t reserved;
};

// CRC-32C of `length` bytes; `crc` is 0, or the result over the bytes before these.
uint32_t ktv_crc32c(uint32_t crc, const void *data, size_t length);
// The same by tables alone, whatever the CPU offers.
uint32_t ktv_crc32c_tables(uint32_t crc, const void *data, size_t length);

// Write a frame, whatever its fields: whether they are legal is for the receiver to judge.
void ktv_encode(const struct ktv_beat *beat, uint8_t frame[KTV_FRAME_SIZE]);

// Judge a frame. The first of these to fail is the answer: magic, version, CRC, status, stall on the wire,
// pid, timestamp, nonce.
enum ktv_error ktv_check(const uint8_t *frame, size_t length);

// Judge a frame and read it; `beat` is written only when the answer is KTV_GOOD.
enum ktv_error ktv_decode(const uint8_t *frame, size_t length, struct ktv_beat *beat);
// cffi: end

#endif
