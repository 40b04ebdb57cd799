// SPDX-License-Identifier: MIT
//
// Fuzz target: the frame assembler.
//
// The input is a small program that writes a stream of frames, damaged frames and garbage, because no fuzzer guesses a
// CRC; with an odd first byte the rest is the stream itself. The stream is fed whole, in pieces and byte by byte.
// Always: the same frames and counters come out, every byte is accounted for, nothing is read outside of what was
// fed, memory grows with what has come and not with what was announced, and a CRC is right if tables say so. Where
// memory is refused now and then, the call is repeated and nothing is lost.
#include <stdlib.h>
#include <string.h>

static unsigned int refuse_every; // 0: never
static unsigned int asked;

static void *scarce_realloc(void *old, size_t size)
{
	return refuse_every && ++asked % refuse_every == 0 ? NULL : realloc(old, size);
}

#define realloc scarce_realloc
#include "../frames/ktstr_assembler.c"
#include "../frames/ktstr_frames.c"
#undef realloc
#include "script.h"

#define STREAM_MAX 65536
#define FRAMES_MAX (STREAM_MAX / KTF_HEADER_SIZE)
#define SINGLE_MAX 4096 // longest stream that is also fed byte by byte
#define ROOM_MAX 8

static const uint32_t caps[] = { 1, 16, 40, 300, 4096, 20000, KTF_MAX_PAYLOAD, KTF_CAP_LIMIT };

struct seen {
	uint32_t msg_type, length, flags, hash;
};

struct outcome {
	struct ktf_statistics statistics;
	uint32_t count;
	uint8_t residual[STREAM_MAX];
	struct seen frames[FRAMES_MAX];
};

static struct outcome whole, other;
static uint8_t stream[STREAM_MAX];
static size_t stream_length;

static void put(const void *data, size_t length)
{
	if (length > STREAM_MAX - stream_length)
		length = STREAM_MAX - stream_length;
	memcpy(stream + stream_length, data, length);
	stream_length += length;
}

static void put_frame(uint32_t msg_type, const uint8_t *payload, uint32_t length, uint32_t crc_xor,
		      uint32_t pad)
{
	uint8_t header[KTF_HEADER_SIZE];

	ktf_encode_header(header, msg_type, payload, length);
	put32(header + 8, get32(header + 8) ^ crc_xor);
	put32(header + 12, pad);
	put(header, sizeof(header));
	put(payload, length);
}

static uint32_t take_type(struct script *s)
{
	return ktf_msg_types[take8(s) % ktf_msg_type_count].value;
}

static void write_one(struct script *s)
{
	static const uint8_t filler[8192];
	uint8_t header[KTF_HEADER_SIZE];
	uint8_t what = take8(s) % 9;
	uint32_t msg_type = what == 4 ? take32(s) : take_type(s);
	size_t got;
	const uint8_t *bytes = take_bytes(s, what == 6 ? 0 : take8(s), &got);

	switch (what) {
	default:
		put_frame(msg_type, bytes, (uint32_t)got, 0, 0);
		break;
	case 3: // a wrong CRC, a pad
		put_frame(msg_type, bytes, (uint32_t)got, take8(s), take8(s));
		break;
	case 5: // a header that announces anything, and some of its payload
		put32(header, msg_type);
		put32(header + 4, take32(s) >> take8(s) % 32);
		put32(header + 8, ktf_crc32(0, bytes, got));
		put32(header + 12, 0);
		put(header, sizeof(header));
		put(bytes, got);
		break;
	case 6: // a long payload, which may hold a frame
		put_frame(msg_type, filler, take16(s) % sizeof(filler), 0, 0);
		break;
	case 7:
		put(bytes, got);
		break;
	case 8: // broken off
		put_frame(msg_type, bytes, (uint32_t)got, 0, 0);
		stream_length -= take8(s) % (KTF_HEADER_SIZE + 1 + got) % (stream_length + 1);
		break;
	}
}

static void check_books(const struct ktf_assembler *a, uint64_t fed)
{
	struct ktf_statistics now;

	ktf_assembler_statistics(a, &now);
	MUST(now.bytes == fed);
	MUST(now.residual <= KTF_HEADER_SIZE + (uint64_t)a->cap);
	MUST(now.crc_bad <= now.frames && now.cut <= now.crc_bad && now.pad_nonzero <= now.frames);
	MUST(now.bytes == KTF_HEADER_SIZE * now.frames + now.payload_bytes + now.skipped[KTF_SKIP_OVERSIZED] +
				  now.skipped[KTF_SKIP_BAD_HEADER] + now.skipped[KTF_SKIP_TORN] +
				  now.taken_bytes + now.residual);
}

static void note(struct outcome *out, const struct ktf_assembler *a, const uint8_t *data, size_t length,
		 const struct ktf_frame *frame)
{
	const uint8_t *base = frame->flags & KTF_IN_TAIL ? a->tail : data;
	size_t room = frame->flags & KTF_IN_TAIL ? a->tail_size : length;

	MUST(frame->length <= a->cap);
	MUST(frame->offset >= KTF_HEADER_SIZE && frame->offset + frame->length <= room);
	MUST(out->count < FRAMES_MAX);
	out->frames[out->count++] = (struct seen){
		.msg_type = frame->msg_type,
		.length = frame->length,
		.flags = frame->flags & ~(uint32_t)KTF_IN_TAIL,
		.hash = ktf_crc32_tables(0, base + frame->offset, frame->length),
	};
}

// Feed one piece, from memory of exactly its size.
static void feed(struct ktf_assembler *a, struct outcome *out, const uint8_t *piece, size_t length, int room)
{
	struct ktf_frame frames[ROOM_MAX];
	uint8_t *data = malloc(length ? length : 1);
	size_t at = 0, used;
	bool more = true;

	MUST(data);
	memcpy(data, piece, length);
	while (more) {
		int count = ktf_assembler_feed(a, data + at, length - at, &used, frames, room, &more);

		MUST(count <= room && used <= length - at);
		MUST(count >= 0 || (more && refuse_every));
		MUST(!more || count || used);
		for (int i = 0; i < count; i++)
			note(out, a, data + at, length - at, &frames[i]);
		at += used;
	}
	MUST(at == length);
	free(data);
}

static void finish(struct ktf_assembler *a, struct outcome *out)
{
	ktf_assembler_statistics(a, &out->statistics);
	MUST(ktf_assembler_residual(a, out->residual) == out->statistics.residual);
	ktf_assembler_destroy(a);
}

static struct ktf_assembler *begin(uint32_t cap, struct outcome *out)
{
	struct ktf_assembler *a = ktf_assembler_create(cap);

	MUST(a);
	out->count = 0;
	return a;
}

static void feed_in_pieces(uint32_t cap, uint32_t seed, size_t longest)
{
	struct ktf_assembler *a = begin(cap, &other);
	size_t high_water = 0;

	for (size_t at = 0; at < stream_length;) {
		size_t length;

		seed = seed * 1664525 + 1013904223;
		length = longest > 1 ? (seed >> 8) % longest : 1;
		if (length > stream_length - at)
			length = stream_length - at;
		if (a->tail_length + length > high_water)
			high_water = a->tail_length + length;
		feed(a, &other, stream + at, length, 1 + (int)(seed >> 29));
		at += length;
		check_books(a, at);
		MUST(a->tail_size <= TAIL_FIRST_SIZE || a->tail_size <= 2 * high_water);
	}
	finish(a, &other);
	MUST(other.count == whole.count);
	MUST(!memcmp(other.frames, whole.frames, whole.count * sizeof(*whole.frames)));
	MUST(!memcmp(&other.statistics, &whole.statistics, sizeof(whole.statistics)));
	MUST(!memcmp(other.residual, whole.residual, whole.statistics.residual));
}

// At once, with as much room as there can be frames: then the headers are still at hand.
static void feed_whole(uint32_t cap)
{
	static struct ktf_frame frames[FRAMES_MAX + 1];
	struct ktf_assembler *a = begin(cap, &whole);
	uint64_t end = 0;
	size_t used;
	bool more;
	int count = ktf_assembler_feed(a, stream, stream_length, &used, frames, FRAMES_MAX + 1, &more);

	MUST(count >= 0 && used == stream_length && !more);
	for (int i = 0; i < count; i++) {
		const struct ktf_frame *frame = &frames[i];
		const uint8_t *header = stream + frame->offset - KTF_HEADER_SIZE;

		note(&whole, a, stream, stream_length, frame);
		MUST(!(frame->flags & KTF_IN_TAIL) && frame->offset - KTF_HEADER_SIZE >= end);
		end = frame->offset + frame->length;
		MUST(get32(header) == frame->msg_type);
		MUST(!!(frame->flags & KTF_PAD_NONZERO) == !!get32(header + 12));
		MUST(frame->flags & KTF_CUT ? frame->length < get32(header + 4)
					    : frame->length == get32(header + 4));
		MUST(!(frame->flags & KTF_CUT) || !(frame->flags & KTF_CRC_OK));
		if (!(frame->flags & KTF_CUT))
			MUST(!!(frame->flags & KTF_CRC_OK) == (whole.frames[i].hash == get32(header + 8)));
	}
	check_books(a, stream_length);
	finish(a, &whole);
}

static void take_now_and_then(uint32_t cap, uint32_t seed)
{
	struct ktf_assembler *a = begin(cap, &other);

	for (size_t at = 0; at < stream_length;) {
		size_t length = 1 + (seed >> 7) % 97;

		seed = seed * 1664525 + 1013904223;
		if (length > stream_length - at)
			length = stream_length - at;
		feed(a, &other, stream + at, length, ROOM_MAX);
		at += length;
		if (seed >> 30 == 0)
			ktf_assembler_take(a);
		check_books(a, at);
	}
	ktf_assembler_destroy(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { data, size };
	uint8_t mode = take8(&s);
	uint32_t cap = caps[mode >> 1 & 7];
	uint32_t seed = take16(&s) * 2654435761u;

	refuse_every = 0;
	stream_length = 0;
	if (mode & 1)
		put(s.at, s.left);
	else
		while (s.left && stream_length < STREAM_MAX)
			write_one(&s);
	feed_whole(cap);
	refuse_every = mode & 16 ? 2 + (mode >> 5) : 0;
	feed_in_pieces(cap, seed, 2 + seed % 300);
	feed_in_pieces(cap, seed, 2 + stream_length);
	if (stream_length <= SINGLE_MAX)
		feed_in_pieces(cap, seed, 1);
	take_now_and_then(cap, seed);
	return 0;
}
