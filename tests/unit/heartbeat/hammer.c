// SPDX-License-Identifier: MIT
//
// Random operations on the heartbeat code, for a build with sanitizers. Includes the sources, to see inside.
//
//	hammer SEED STEPS
//
// Ends with 0, or aborts at the first contradiction. Prints what happened, so that a run that did nothing is seen.
#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool made;

// No memory may be taken after the tracker was made.
static void *counted_malloc(size_t size)
{
	assert(!made);
	return malloc(size);
}

static void *counted_calloc(size_t count, size_t size)
{
	assert(!made);
	return calloc(count, size);
}

#define malloc counted_malloc
#define calloc counted_calloc
#include "heartbeat/ktstr_vlp.c"
#include "heartbeat/ktstr_probe.c"
#include "heartbeat/ktstr_tracker.c"
#undef malloc
#undef calloc

#define BATCH 16

static uint64_t state;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint64_t border(uint64_t now_ns)
{
	switch (next() % 6) {
	case 0:
		return KTV_NONCE_TERMINAL - next() % 3;
	case 1:
		return UINT64_MAX - KTB_NONCE_WRAP_WINDOW - 1 + next() % 3;
	case 2:
		return KTB_NONCE_WRAP_WINDOW - 1 + next() % 3;
	case 3:
		return next() % 50;
	default:
		return now_ns;
	}
}

static struct ktv_beat random_beat(uint32_t pids, uint64_t now_ns)
{
	return (struct ktv_beat){
		.timestamp = next() % 8 ? next() % 50 : next(),
		.nonce = border(now_ns),
		.pid = next() % 16 ? (uint32_t)(next() % pids) : (uint32_t)next(),
		.payload = (uint32_t)next(),
		.status = (uint32_t)(next() % 4),
	};
}

static struct ktb_source random_source(void)
{
	return (struct ktb_source){
		.pid_ns_inode = next() % 2,
		.generation = next() % 2,
		.origin = next() % 8 ? 0 : (uint32_t)(next() % 3),
		.known = (uint32_t)(next() % 4),
	};
}

// The tracker's parts must tell the same story.
static void check(struct ktb_tracker *t)
{
	uint32_t stalled = 0;

	assert(t->tracked <= t->capacity);
	assert(t->index.live == t->tracked);
	assert(t->cursor < t->tracked || t->cursor == 0);
	for (uint32_t at = 0; at < t->tracked; at++) {
		assert(ktb_probe_get(&t->index, t->slots[at].pid) == at);
		stalled += (t->slots[at].flags & KTB_STALLED) != 0;
	}
	assert(stalled == t->stalled);
	assert(t->counts[KTB_COUNT_INVARIANT_VIOLATIONS] == 0);
}

// Frames on the heap at their exact size, so that reading past an end is seen.
static void decode_damaged(void)
{
	struct ktv_beat beat = random_beat(100, 7);
	struct ktv_beat read;
	size_t length = next() % 4 ? KTV_FRAME_SIZE : next() % 40;
	uint8_t whole[KTV_FRAME_SIZE];
	uint8_t *frame = (malloc)(length ? length : 1);
	enum ktv_error error;

	ktv_encode(&beat, whole);
	for (size_t i = 0; i < length; i++)
		frame[i] = i < sizeof(whole) ? whole[i] : (uint8_t)next();
	error = ktv_decode(frame, length, &read);
	assert(length == KTV_FRAME_SIZE ? error != KTV_BAD_CRC && error < KTV_BAD_LENGTH
					: error == KTV_BAD_LENGTH);
	if (length == KTV_FRAME_SIZE) {
		frame[next() % KTV_FRAME_SIZE] ^= 1 << next() % 8;
		assert(ktv_decode(frame, length, &read) != KTV_GOOD);
	}
	assert(ktv_crc32c(0, frame, length) == ktv_crc32c_tables(0, frame, length));
	free(frame);
}

static void record_batch(struct ktb_tracker *t, uint32_t pids, uint64_t now_ns)
{
	static struct ktb_datagram in[BATCH];
	static struct ktb_outcome out[BATCH];
	static uint32_t notable[BATCH];
	uint32_t count = (uint32_t)(next() % (BATCH + 1));
	uint32_t found;

	for (uint32_t i = 0; i < count; i++) {
		struct ktv_beat beat = random_beat(pids, now_ns);

		in[i].source = random_source();
		in[i].source.known |= next() % 2 ? KTB_KNOWN_PEER : 0;
		in[i].length = next() % 8 ? KTV_FRAME_SIZE : (uint32_t)next();
		in[i].peer_pid = next() % 4 ? beat.pid : 0;
		ktv_encode(&beat, in[i].bytes);
		if (next() % 8 == 0)
			in[i].bytes[next() % KTV_FRAME_SIZE] ^= 1 << next() % 8;
	}
	found = ktb_tracker_record_batch(t, in, count, now_ns, 100, out, notable);
	assert(found <= count);
	for (uint32_t i = 0; i < found; i++)
		assert(notable[i] < count && out[notable[i]].error <= KTB_AUTH_FAILURE);
}

static void one_step(struct ktb_tracker *t, uint32_t pids, uint64_t now_ns)
{
	struct ktv_beat beat = random_beat(pids, now_ns);
	struct ktb_source source = random_source();
	uint32_t pid = (uint32_t)(next() % pids);

	switch (next() % 16) {
	default:
		ktb_tracker_record(t, &beat, &source, now_ns, next() % 64 ? 100 : UINT64_MAX);
		break;
	case 10:
	case 11:
		record_batch(t, pids, now_ns);
		break;
	case 12:
		for (uint32_t i = ktb_tracker_drain(t, now_ns, 100); i; i--)
			assert(ktb_tracker_drained(t)[i - 1] < t->tracked);
		break;
	case 13:
		ktb_tracker_forget(t, pid);
		assert(!ktb_tracker_get(t, pid));
		break;
	case 14:
		ktb_tracker_take(t, (enum ktb_counter)(next() % KTB_COUNTERS));
		ktb_tracker_take_evicted(t);
		break;
	case 15:
		decode_damaged();
		break;
	}
}

// A contradiction planted in the index is got over and counted.
static void get_over_a_contradiction(struct ktb_tracker *t)
{
	struct ktv_beat beat = { .pid = 1u << 31, .nonce = 1 };
	struct ktb_source source = { 0 };

	ktb_tracker_forget(t, beat.pid);
	assert(ktb_probe_insert(&t->index, beat.pid, KTB_MAX_SLOT));
	assert(!ktb_tracker_get(t, beat.pid));
	assert(ktb_tracker_record(t, &beat, &source, 0, 100) == KTB_CAPACITY_EXCEEDED);
	assert(ktb_tracker_take(t, KTB_COUNT_INVARIANT_VIOLATIONS) == 1);
	assert(ktb_probe_insert(&t->index, beat.pid, KTB_MAX_SLOT));
	assert(!ktb_tracker_forget(t, beat.pid));
}

static void hammer(uint32_t capacity, bool balanced, uint32_t window, uint64_t steps)
{
	struct ktb_tracker *t = ktb_tracker_create(capacity, balanced, window);
	struct ktb_state end;
	uint64_t now_ns = 0;

	assert(t);
	made = true;
	for (uint64_t step = 0; step < steps; step++) {
		now_ns += next() % 4 ? next() % 8 : next() % 100;
		one_step(t, 3 * capacity, now_ns);
		if (step % 64 == 0)
			check(t);
	}
	check(t);
	ktb_tracker_state(t, &end);
	for (int i = 0; i < KTB_COUNTERS; i++)
		printf("%" PRIu64 "%c", end.counts[i], i + 1 < KTB_COUNTERS ? ' ' : '\n');
	get_over_a_contradiction(t);
	made = false;
	ktb_tracker_destroy(t);
}

int main(int argc, char **argv)
{
	uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 10) : 100000;

	state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	hammer(1, false, 1, steps / 4);
	hammer(24, false, 5, steps / 4);
	hammer(32, true, 256, steps / 4);
	hammer(KTB_MAX_CAPACITY, true, 256, steps / 4);
	assert(!ktb_probe_create(KTB_MAX_PLACES));
	return 0;
}
