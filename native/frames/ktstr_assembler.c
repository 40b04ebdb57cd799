// SPDX-License-Identifier: MIT
//
// Assembler of the bulk port's frames.
//
// How the assembler keeps its place in a stream that has no marker to resynchronise on
// -----------------------------------------------------------------------------------
// While it is in step, it believes each header: a frame of any type, with a right or wrong CRC, is handed out.
// A header that cannot be right puts it out of step: length above the cap; or unknown type and non-zero pad; or
// unknown type and a known one inside the same 16 bytes, which is the end of some payload read as a header. Then it
// seeks: byte by byte for a known type, zero pad and a length within the cap, and it believes such a header only when
// the CRC of its payload is right. A header whose payload has not come yet is kept until it has, so what comes out
// does not depend on how the stream was cut into feeds.
//
// A wrong CRC leaves the question whether the payload or the length was damaged. What the frame itself holds answers
// it: when some shorter payload has the right CRC and a header follows it, the length was wrong, and the frame is
// cut there. Otherwise a whole good frame inside the payload, or a header that reaches across its end, means that the
// sender broke off and began a new frame: the frame is cut there too, and seeking verifies the rest. Nothing beyond the
// frame is looked at, again so that feeds do not matter, and a frame is never withheld for the sake of a later one.
//
// Seeking must not become a lever for a hostile guest: headers packed densely, each announcing the cap, would cost a
// CRC over 256 KiB for every 16 bytes sent. Verification is therefore paid from a credit that consumed bytes earn.
#include <stdlib.h>
#include <string.h>

#include "ktstr_bytes.h"
#include "ktstr_frames.h"

#define TAIL_FIRST_SIZE 256
// CRC bytes that a consumed byte earns, and the most that can be saved up, in caps.
#define CREDIT_PER_BYTE 8
#define CREDIT_CAPS 4

struct ktf_assembler {
	uint32_t cap;
	bool seeking;
	enum ktf_skip_reason cause;
	uint64_t credit;
	// Bytes kept between feeds: at most one frame. They start at tail + tail_start.
	uint8_t *tail;
	size_t tail_start;
	size_t tail_length;
	size_t tail_size;
	struct ktf_statistics statistics;
};

struct ktf_assembler *ktf_assembler_create(uint32_t max_payload)
{
	struct ktf_assembler *a;

	if (!max_payload || max_payload > KTF_CAP_LIMIT)
		return NULL;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->cap = max_payload;
	a->credit = (uint64_t)max_payload * CREDIT_CAPS;
	return a;
}

void ktf_assembler_destroy(struct ktf_assembler *a)
{
	if (a)
		free(a->tail);
	free(a);
}

static bool is_tag_prefix(const uint8_t *p, size_t length)
{
	for (size_t i = 0; i < ktf_msg_type_count; i++) {
		uint8_t tag[4];
		put32(tag, ktf_msg_types[i].value);
		if (!memcmp(tag, p, length))
			return true;
	}
	return false;
}

// Whether these bytes, of which there may be less than a header, can start a frame of a known type.
static bool is_plausible(const struct ktf_assembler *a, const uint8_t *p, size_t length)
{
	if (length < 4)
		return is_tag_prefix(p, length);
	if (!ktf_is_known(get32(p)))
		return false;
	if (length >= 8 && get32(p + 4) > a->cap)
		return false;
	for (size_t i = 12; i < KTF_HEADER_SIZE && i < length; i++)
		if (p[i])
			return false;
	return true;
}

static bool has_right_crc(const uint8_t *p)
{
	return ktf_crc32(0, p + KTF_HEADER_SIZE, get32(p + 4)) == get32(p + 8);
}

// Whether the CRC of the whole frame at `p` is right and was worth computing.
static bool verify(struct ktf_assembler *a, const uint8_t *p)
{
	uint32_t length = get32(p + 4);

	if (length > a->credit)
		return false;
	a->credit -= length;
	return has_right_crc(p);
}

static size_t consume(struct ktf_assembler *a, size_t length)
{
	uint64_t most = (uint64_t)a->cap * CREDIT_CAPS;

	a->credit += (uint64_t)length * CREDIT_PER_BYTE;
	if (a->credit > most)
		a->credit = most;
	return length;
}

static size_t skip(struct ktf_assembler *a, size_t length)
{
	a->statistics.skipped[a->cause] += length;
	return consume(a, length);
}

static void start_seeking(struct ktf_assembler *a, enum ktf_skip_reason cause)
{
	a->seeking = true;
	a->cause = cause;
	a->statistics.resyncs++;
}

static size_t emit(struct ktf_assembler *a, const uint8_t *p, uint32_t length, uint32_t flags,
		   struct ktf_frame *ret)
{
	if (get32(p + 12))
		flags |= KTF_PAD_NONZERO;
	ret->msg_type = get32(p);
	ret->length = length;
	ret->flags = flags;
	a->statistics.frames++;
	a->statistics.payload_bytes += length;
	a->statistics.crc_bad += !(flags & KTF_CRC_OK);
	a->statistics.cut += !!(flags & KTF_CUT);
	a->statistics.pad_nonzero += !!(flags & KTF_PAD_NONZERO);
	return consume(a, KTF_HEADER_SIZE + (size_t)length);
}

// Where the next frame begins inside the payload of a frame with a wrong CRC; the payload's length if nowhere.
// `*proven`: the shorter payload has the CRC of the header.
static uint32_t find_cut(struct ktf_assembler *a, const uint8_t *p, uint32_t length, bool *proven)
{
	const uint8_t *payload = p + KTF_HEADER_SIZE;
	uint32_t want = get32(p + 8), crc = 0, done = 0, found = length;

	*proven = false;
	for (uint32_t at = 0; at < length; at++) {
		const uint8_t *next = payload + at;
		size_t left = length - at;

		if (!is_plausible(a, next, left))
			continue;
		crc = ktf_crc32(crc, payload + done, at - done);
		done = at;
		if (crc == want) {
			*proven = true;
			return at;
		}
		if (found < length || left < 4)
			continue;
		if (left < KTF_HEADER_SIZE || left - KTF_HEADER_SIZE < get32(next + 4) || verify(a, next))
			found = at;
	}
	return found;
}

static size_t emit_torn(struct ktf_assembler *a, const uint8_t *p, uint32_t length, struct ktf_frame *ret)
{
	bool proven;
	uint32_t cut = find_cut(a, p, length, &proven);

	if (cut == length)
		return emit(a, p, length, 0, ret);
	if (proven)
		a->statistics.resyncs++;
	else
		start_seeking(a, KTF_SKIP_TORN);
	return emit(a, p, cut, KTF_CUT, ret);
}

// Whether a known type is inside these 16 bytes, not at their start.
static bool holds_header(const struct ktf_assembler *a, const uint8_t *p)
{
	for (size_t at = 1; at <= KTF_HEADER_SIZE - 4; at++)
		if (is_plausible(a, p + at, KTF_HEADER_SIZE - at))
			return true;
	return false;
}

// Out of step: skip to what may be a header, or hand out the frame in front when it is proven.
static size_t seek(struct ktf_assembler *a, const uint8_t *p, size_t length, struct ktf_frame *ret,
		   bool *is_frame)
{
	size_t at = 0;

	if (is_plausible(a, p, length)) {
		if (length < KTF_HEADER_SIZE)
			return 0;
		if (get32(p + 4) <= a->credit) {
			if (length - KTF_HEADER_SIZE < get32(p + 4))
				return 0;
			if (verify(a, p)) {
				a->seeking = false;
				*is_frame = true;
				return emit(a, p, get32(p + 4), KTF_CRC_OK, ret);
			}
		}
	}
	do {
		at++;
	} while (at < length && !is_plausible(a, p + at, length - at));
	return skip(a, at);
}

// Decide about the bytes in front. Returns how many of them are done with; 0 when more are needed to decide.
static size_t step(struct ktf_assembler *a, const uint8_t *p, size_t length, struct ktf_frame *ret,
		   bool *is_frame)
{
	uint32_t announced;

	*is_frame = false;
	if (a->seeking)
		return seek(a, p, length, ret, is_frame);
	if (length < KTF_HEADER_SIZE)
		return 0;
	announced = get32(p + 4);
	if (announced > a->cap) {
		a->statistics.oversized++;
		start_seeking(a, KTF_SKIP_OVERSIZED);
		return skip(a, 1);
	}
	if (!ktf_is_known(get32(p)) && (get32(p + 12) || holds_header(a, p))) {
		start_seeking(a, KTF_SKIP_BAD_HEADER);
		return skip(a, 1);
	}
	if (length - KTF_HEADER_SIZE < announced)
		return 0;
	if (has_right_crc(p)) {
		*is_frame = true;
		return emit(a, p, announced, KTF_CRC_OK, ret);
	}
	*is_frame = true;
	return emit_torn(a, p, announced, ret);
}

// Keep bytes for later. The buffer grows with what has come, never with what was announced.
static bool keep(struct ktf_assembler *a, const uint8_t *data, size_t length)
{
	size_t need = a->tail_length + length;

	if (a->tail_start + need > a->tail_size && a->tail_start) {
		memmove(a->tail, a->tail + a->tail_start, a->tail_length);
		a->tail_start = 0;
	}
	if (need > a->tail_size) {
		size_t most = KTF_HEADER_SIZE + (size_t)a->cap;
		size_t size = a->tail_size ? a->tail_size : TAIL_FIRST_SIZE;
		uint8_t *tail;

		while (size < need)
			size *= 2;
		if (size > most && need <= most)
			size = most;
		tail = realloc(a->tail, size);
		if (!tail)
			return false;
		a->tail = tail;
		a->tail_size = size;
	}
	memcpy(a->tail + a->tail_start + a->tail_length, data, length);
	a->tail_length = need;
	return true;
}

// How many bytes the tail lacks for a decision about its front.
static size_t tail_lacks(const struct ktf_assembler *a)
{
	const uint8_t *p = a->tail + a->tail_start;

	if (a->tail_length < KTF_HEADER_SIZE)
		return KTF_HEADER_SIZE - a->tail_length;
	return KTF_HEADER_SIZE + (size_t)get32(p + 4) - a->tail_length;
}

static void drop_from_tail(struct ktf_assembler *a, size_t length)
{
	a->tail_length -= length;
	a->tail_start = a->tail_length ? a->tail_start + length : 0;
}

// Take frames out of the tail, as far as its bytes decide. Returns how many of `frames` are filled by now.
static int feed_from_tail(struct ktf_assembler *a, struct ktf_frame *frames, int count, int room)
{
	while (a->tail_length && count < room) {
		bool is_frame;
		size_t start = a->tail_start;
		size_t done = step(a, a->tail + start, a->tail_length, &frames[count], &is_frame);

		if (!done)
			break;
		drop_from_tail(a, done);
		if (is_frame) {
			frames[count].offset = start + KTF_HEADER_SIZE;
			frames[count++].flags |= KTF_IN_TAIL;
		}
	}
	return count;
}

// The same out of the bytes just fed, from `*at` on.
static int feed_from_data(struct ktf_assembler *a, const uint8_t *data, size_t length, size_t *at,
			  struct ktf_frame *frames, int count, int room)
{
	while (*at < length && count < room) {
		bool is_frame;
		size_t done = step(a, data + *at, length - *at, &frames[count], &is_frame);

		if (!done)
			break;
		if (is_frame)
			frames[count++].offset = *at + KTF_HEADER_SIZE;
		*at += done;
	}
	return count;
}

int ktf_assembler_feed(struct ktf_assembler *a, const uint8_t *data, size_t length, size_t *used,
		       struct ktf_frame *frames, int room, bool *more)
{
	size_t at = 0;
	int count = 0, lent;

	*more = false;
	for (;;) {
		size_t take = length - at;

		count = feed_from_tail(a, frames, count, room);
		lent = count;
		if (!a->tail_length) {
			count = feed_from_data(a, data, length, &at, frames, count, room);
			take = length - at;
		}
		if (count == room || (lent && at < length)) {
			// The frames that are in the tail have to be copied before it changes.
			*more = count == room || at < length;
			break;
		}
		if (at == length)
			break;
		if (a->tail_length && take > tail_lacks(a))
			take = tail_lacks(a);
		if (!keep(a, data + at, take)) {
			*more = true;
			count = count ? count : -1;
			break;
		}
		at += take;
	}
	*used = at;
	a->statistics.bytes += at;
	return count;
}

const uint8_t *ktf_assembler_tail(const struct ktf_assembler *a)
{
	return a->tail;
}

size_t ktf_assembler_residual(const struct ktf_assembler *a, uint8_t *out)
{
	if (a->tail_length)
		memcpy(out, a->tail + a->tail_start, a->tail_length);
	return a->tail_length;
}

void ktf_assembler_take(struct ktf_assembler *a)
{
	a->statistics.taken_bytes += a->tail_length;
	a->tail_length = 0;
	a->tail_start = 0;
	a->seeking = false;
}

void ktf_assembler_statistics(const struct ktf_assembler *a, struct ktf_statistics *ret)
{
	*ret = a->statistics;
	ret->residual = a->tail_length;
}
