// SPDX-License-Identifier: MIT
//
// Fuzz target: the decoder of beats, and the tracker behind it.
//
// The input is a program of operations on one tracker: beats as raw bytes (with a right CRC on request, because no
// fuzzer guesses one), batches of datagrams, time that passes or jumps, silences drained, pids forgotten. After each
// operation the tracker's parts must tell the same story, and every beat must be in exactly one of its counters.
#include <string.h>

#include "../heartbeat/ktstr_probe.c"
#include "../heartbeat/ktstr_tracker.c"
#include "../heartbeat/ktstr_vlp.c"
#include "script.h"

#define BATCH 8
#define OPERATIONS_MAX 400

struct book {
	uint64_t entered; // beats given to the tracker
	uint64_t drained;
	uint64_t forgotten;
};

static void check(const struct ktb_tracker *t, const struct book *book)
{
	uint64_t updates = 0;
	uint32_t stalled = 0;

	MUST(t->tracked <= t->capacity && t->index.live == t->tracked);
	MUST(t->cursor < t->tracked || t->cursor == 0);
	for (uint32_t at = 0; at < t->tracked; at++) {
		const struct ktb_slot *slot = &t->slots[at];

		MUST(ktb_tracker_get(t, slot->pid) == slot);
		MUST(slot->pid > 1 && slot->status < KTV_STALL && slot->beats);
		stalled += !!(slot->flags & KTB_STALLED);
	}
	for (int i = 0; i < KTB_UPDATES; i++)
		updates += t->counts[i];
	MUST(stalled == t->stalled);
	MUST(updates == book->entered);
	MUST(t->counts[KTB_COUNT_STALLS] == book->drained);
	MUST(t->counts[KTB_COUNT_FORGOTTEN] == book->forgotten);
	MUST(t->counts[KTB_COUNT_RECOVERIES] <= t->counts[KTB_COUNT_STALLS]);
	MUST(t->counts[KTB_COUNT_EVICTIONS] + t->counts[KTB_COUNT_PID_RECYCLES] <= t->counts[KTB_INSERTED]);
	MUST(t->counts[KTB_INSERTED] == t->tracked + book->forgotten + t->counts[KTB_COUNT_EVICTIONS] +
						t->counts[KTB_COUNT_PID_RECYCLES]);
	MUST(t->counts[KTB_COUNT_INVARIANT_VIOLATIONS] == 0);
}

// What is a legal frame is so in each of its forms.
static void check_decoded(const uint8_t *frame, const struct ktv_beat *beat)
{
	uint8_t again[KTV_FRAME_SIZE];

	MUST(beat->status < KTV_STALL && beat->pid > 1 && beat->timestamp != UINT64_MAX);
	MUST(beat->nonce != KTV_NONCE_TERMINAL || beat->status == KTV_CRITICAL);
	ktv_encode(beat, again);
	MUST(!memcmp(again, frame, sizeof(again)));
}

static void fix_frame(uint8_t *frame, uint8_t how)
{
	if (!(how & 1))
		return;
	memcpy(frame, "VA\2", 3);
	if (how & 2)
		frame[3] &= 3;
	if (how & 4)
		memset(frame + 5, 0, 3); // few pids, so that they come again
	if (how & 8)
		memset(frame + 17, 0, 7); // small nonces
	put32(frame + CRC_AT, ktv_crc32c_tables(0, frame, CRC_AT));
}

static size_t take_frame(struct script *s, uint8_t *frame)
{
	uint8_t how = take8(s);
	size_t got, length = how & 16 ? take8(s) % 40 : KTV_FRAME_SIZE;
	const uint8_t *bytes = take_bytes(s, length, &got);

	memset(frame, 0, 40);
	memcpy(frame, bytes, got);
	fix_frame(frame, how);
	return length;
}

static struct ktb_source take_source(struct script *s)
{
	uint8_t bits = take8(s);

	return (struct ktb_source){
		.pid_ns_inode = bits & 1,
		.generation = bits >> 1 & 1,
		.known = bits >> 2 & 7,
		.origin = bits >> 5 & 3,
	};
}

// From memory of exactly the frame's size.
static bool decode(const uint8_t *frame, size_t length, struct ktv_beat *beat)
{
	uint8_t *exact = malloc(length ? length : 1);
	enum ktv_error error;

	MUST(exact);
	memcpy(exact, frame, length);
	error = ktv_decode(exact, length, beat);
	MUST(error < KTV_ERRORS && error == ktv_check(exact, length));
	MUST((length != KTV_FRAME_SIZE) == (error == KTV_BAD_LENGTH));
	MUST(ktv_crc32c(0, exact, length) == ktv_crc32c_tables(0, exact, length));
	if (error == KTV_GOOD)
		check_decoded(exact, beat);
	free(exact);
	return error == KTV_GOOD;
}

static void record_one(struct script *s, struct ktb_tracker *t, struct book *book, uint64_t now_ns,
		       uint64_t threshold_ns)
{
	struct ktb_source source = take_source(s);
	struct ktv_beat beat;
	uint8_t frame[40];

	if (!decode(frame, take_frame(s, frame), &beat))
		return;
	book->entered++;
	MUST(ktb_tracker_record(t, &beat, &source, now_ns, threshold_ns) < KTB_UPDATES);
}

static void record_batch(struct script *s, struct ktb_tracker *t, struct book *book, uint64_t now_ns,
			 uint64_t threshold_ns)
{
	struct ktb_datagram *in = calloc(BATCH, sizeof(*in));
	struct ktb_outcome out[BATCH];
	uint32_t notable[BATCH], count = take8(s) % (BATCH + 1), found;

	MUST(in);
	for (uint32_t i = 0; i < count; i++) {
		in[i].source = take_source(s);
		in[i].length = (uint32_t)take_frame(s, in[i].bytes);
		in[i].peer_pid = take8(s);
	}
	found = ktb_tracker_record_batch(t, in, count, now_ns, threshold_ns, out, notable);
	MUST(found <= count);
	for (uint32_t i = 0; i < count; i++) {
		MUST(out[i].error <= KTB_AUTH_FAILURE);
		MUST((out[i].error == 0) == (out[i].update < KTB_UPDATES));
		book->entered += !out[i].error;
	}
	for (uint32_t i = 0; i < found; i++)
		MUST(notable[i] < count && (!i || notable[i] > notable[i - 1]));
	free(in);
}

static void drain(struct ktb_tracker *t, struct book *book, uint64_t now_ns, uint64_t threshold_ns)
{
	uint32_t found = ktb_tracker_drain(t, now_ns, threshold_ns);

	MUST(found <= t->tracked);
	for (uint32_t i = 0; i < found; i++)
		MUST(t->slots[ktb_tracker_drained(t)[i]].flags & KTB_STALLED);
	book->drained += found;
	MUST(ktb_tracker_drain(t, now_ns, threshold_ns) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = { data, size };
	uint8_t shape = take8(&s);
	struct ktb_tracker *t = ktb_tracker_create(1u << (shape & 7), shape & 8, 1u << (shape >> 4 & 7));
	uint64_t now_ns = take64(&s), threshold_ns = take16(&s);
	struct book book = { 0 };
	struct ktb_state state;

	MUST(t);
	for (int i = 0; s.left && i < OPERATIONS_MAX; i++) {
		switch (take8(&s) & 7) {
		default:
			record_one(&s, t, &book, now_ns, threshold_ns);
			break;
		case 3:
			record_batch(&s, t, &book, now_ns, threshold_ns);
			break;
		case 4:
			now_ns += take16(&s);
			break;
		case 5:
			now_ns = take64(&s); // clocks that jump, forwards or back
			break;
		case 6:
			drain(t, &book, now_ns, threshold_ns);
			break;
		case 7:
			book.forgotten += ktb_tracker_forget(t, take8(&s));
			break;
		}
		check(t, &book);
	}
	ktb_tracker_state(t, &state);
	MUST(state.tracked == t->tracked && state.stalled == t->stalled);
	ktb_tracker_destroy(t);
	return 0;
}
