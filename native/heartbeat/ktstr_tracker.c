// SPDX-License-Identifier: MIT
//
// A beat changes its slot only after every check has passed, and a new pid gets a slot only after its place in the
// index is certain: whatever is refused leaves no trace but a count.
#include "ktstr_tracker.h"

#include <stdlib.h>

#include "ktstr_probe.h"
#include "ktstr_slot.h"

#define NONE UINT32_MAX

struct ktb_tracker {
	struct ktb_slot *slots; // `tracked` of `capacity`, without holes
	uint32_t *drained;
	struct ktb_probe index;
	uint32_t capacity;
	uint32_t tracked;
	uint32_t stalled;
	uint32_t scan_window;
	uint32_t cursor;
	bool balanced;
	int64_t evicted_pid;
	uint64_t recovery_ns;
	uint64_t counts[KTB_COUNTERS];
	uint64_t taken[KTB_COUNTERS];
};

static inline uint32_t clamp(uint32_t value)
{
	return value < 1 ? 1 : value > KTB_MAX_CAPACITY ? KTB_MAX_CAPACITY : value;
}

struct ktb_tracker *ktb_tracker_create(uint32_t capacity, bool balanced, uint32_t scan_window)
{
	struct ktb_tracker *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->capacity = clamp(capacity);
	t->scan_window = clamp(scan_window);
	t->balanced = balanced;
	t->evicted_pid = KTB_NO_PID;
	t->recovery_ns = KTB_NO_RECOVERY;
	t->slots = calloc(t->capacity, sizeof(*t->slots));
	t->drained = calloc(t->capacity, sizeof(*t->drained));
	if (!t->slots || !t->drained || !ktb_probe_init(&t->index, t->capacity)) {
		ktb_tracker_destroy(t);
		return NULL;
	}
	return t;
}

void ktb_tracker_destroy(struct ktb_tracker *t)
{
	ktb_probe_fini(&t->index);
	free(t->drained);
	free(t->slots);
	free(t);
}

static void unlatch(struct ktb_tracker *t, struct ktb_slot *slot)
{
	if (slot->flags & KTB_STALLED)
		t->stalled--;
	slot->flags &= ~(uint32_t)KTB_STALLED;
}

static void slot_refresh(struct ktb_tracker *t, struct ktb_slot *slot, const struct ktv_beat *beat,
			 uint64_t missed, uint64_t now_ns)
{
	slot->nonce_gaps += missed > 0;
	if (__builtin_add_overflow(slot->beats_missed, missed, &slot->beats_missed))
		slot->beats_missed = UINT64_MAX;
	if (slot->flags & KTB_STALLED) {
		unlatch(t, slot);
		t->counts[KTB_COUNT_RECOVERIES]++;
		t->recovery_ns = since(now_ns, slot->last_ns);
	}
	slot_write(slot, beat, now_ns);
}

static enum ktb_update update(struct ktb_tracker *t, struct ktb_slot *slot, const struct ktv_beat *beat,
			      const struct ktb_source *source, uint64_t now_ns)
{
	uint64_t missed;
	bool wrapped;

	if (is_recycled(slot, source)) {
		unlatch(t, slot);
		slot_begin(slot, beat, source, now_ns);
		t->counts[KTB_COUNT_PID_RECYCLES]++;
		return KTB_INSERTED;
	}
	if (slot->origin != source->origin)
		return KTB_ORIGIN_CONFLICT;
	if (is_elsewhere(slot, source, is_terminal(beat)))
		return KTB_NAMESPACE_CONFLICT;
	if (!goes_on(slot, beat, &missed, &wrapped))
		return KTB_OUT_OF_ORDER;
	t->counts[KTB_COUNT_NONCE_WRAPS] += wrapped;
	slot_learn(slot, source);
	slot_refresh(t, slot, beat, missed, now_ns);
	return KTB_REFRESHED;
}

// One pass over at most a window of slots. The next one begins behind what this one has looked at.
static uint32_t scan(struct ktb_tracker *t, uint64_t now_ns, uint64_t silence_ns, bool stalled_only)
{
	uint32_t window = t->scan_window < t->tracked ? t->scan_window : t->tracked;
	uint32_t at = t->cursor;

	for (uint32_t step = 0; step < window; step++) {
		const struct ktb_slot *slot = &t->slots[at];
		uint32_t here = at;

		at = at + 1 < t->tracked ? at + 1 : 0;
		if (since(now_ns, slot->last_ns) > silence_ns &&
		    (!stalled_only || slot->flags & KTB_STALLED)) {
			t->cursor = at;
			return here;
		}
	}
	t->cursor = at;
	return NONE;
}

static uint32_t find_victim(struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns)
{
	uint64_t silence_ns;
	uint32_t victim = NONE;

	if (__builtin_mul_overflow(threshold_ns, (uint64_t)KTB_EVICTION_MULTIPLIER, &silence_ns))
		silence_ns = UINT64_MAX;
	// Who fills the table faster than a threshold passes costs nothing here: there is no stall yet.
	if (t->stalled)
		victim = scan(t, now_ns, silence_ns, true);
	if (victim == NONE && t->balanced)
		victim = scan(t, now_ns, silence_ns, false);
	if (victim == NONE)
		t->counts[KTB_COUNT_SCAN_TRUNCATED]++;
	return victim;
}

static enum ktb_update replace(struct ktb_tracker *t, uint32_t at, const struct ktv_beat *beat,
			       const struct ktb_source *source, uint64_t now_ns)
{
	struct ktb_slot *slot = &t->slots[at];
	uint32_t old = slot->pid;

	ktb_probe_remove(&t->index, old);
	if (!ktb_probe_insert(&t->index, beat->pid, at)) {
		// The place just vacated is free again for the old pid, if for no other.
		ktb_probe_insert(&t->index, old, at);
		return KTB_CAPACITY_EXCEEDED;
	}
	unlatch(t, slot);
	slot_begin(slot, beat, source, now_ns);
	t->counts[KTB_COUNT_EVICTIONS]++;
	t->evicted_pid = old;
	return KTB_INSERTED;
}

static enum ktb_update insert(struct ktb_tracker *t, const struct ktv_beat *beat,
			      const struct ktb_source *source, uint64_t now_ns, uint64_t threshold_ns)
{
	if (t->tracked >= t->capacity) {
		uint32_t victim = find_victim(t, now_ns, threshold_ns);

		return victim == NONE ? KTB_CAPACITY_EXCEEDED : replace(t, victim, beat, source, now_ns);
	}
	if (!ktb_probe_insert(&t->index, beat->pid, t->tracked))
		return KTB_CAPACITY_EXCEEDED;
	slot_begin(&t->slots[t->tracked++], beat, source, now_ns);
	return KTB_INSERTED;
}

enum ktb_update ktb_tracker_record(struct ktb_tracker *t, const struct ktv_beat *beat,
				   const struct ktb_source *source, uint64_t now_ns, uint64_t threshold_ns)
{
	uint32_t at = ktb_probe_get(&t->index, beat->pid);
	enum ktb_update result;

	t->recovery_ns = KTB_NO_RECOVERY;
	if (at == KTB_EMPTY) {
		result = insert(t, beat, source, now_ns, threshold_ns);
	} else if (at >= t->tracked) {
		// The index names a slot that is not there: drop the entry, so that the next beat finds a way.
		ktb_probe_remove(&t->index, beat->pid);
		t->counts[KTB_COUNT_INVARIANT_VIOLATIONS]++;
		result = KTB_CAPACITY_EXCEEDED;
	} else {
		result = update(t, &t->slots[at], beat, source, now_ns);
	}
	t->counts[result]++;
	return result;
}

enum ktb_update ktb_tracker_record_fields(struct ktb_tracker *t, uint32_t status, uint32_t pid,
					  uint64_t timestamp, uint64_t nonce, uint32_t payload,
					  uint64_t now_ns, uint64_t threshold_ns, uint32_t origin,
					  uint32_t known, uint64_t pid_ns_inode, uint64_t generation)
{
	const struct ktv_beat beat = {
		.timestamp = timestamp,
		.nonce = nonce,
		.pid = pid,
		.payload = payload,
		.status = status,
	};
	const struct ktb_source source = {
		.pid_ns_inode = pid_ns_inode,
		.generation = generation,
		.origin = origin,
		.known = known,
	};

	return ktb_tracker_record(t, &beat, &source, now_ns, threshold_ns);
}

uint64_t ktb_tracker_last_recovery(const struct ktb_tracker *t)
{
	return t->recovery_ns;
}

static inline bool is_notable(const struct ktb_outcome *outcome)
{
	switch (outcome->update) {
	case KTB_REFRESHED:
		return outcome->recovery_ns != KTB_NO_RECOVERY;
	case KTB_OUT_OF_ORDER:
	case KTB_CAPACITY_EXCEEDED:
		return false;
	default:
		return true;
	}
}

// Returns whether somebody should hear of it.
static bool record_datagram(struct ktb_tracker *t, const struct ktb_datagram *in, uint64_t now_ns,
			    uint64_t threshold_ns, struct ktb_outcome *out)
{
	out->recovery_ns = KTB_NO_RECOVERY;
	out->update = KTB_UPDATES;
	out->error = ktv_decode(in->bytes, in->length, &out->beat);
	if (out->error)
		return true;
	if (in->source.known & KTB_KNOWN_PEER && in->peer_pid != out->beat.pid) {
		out->error = KTB_AUTH_FAILURE;
		return true;
	}
	out->update = ktb_tracker_record(t, &out->beat, &in->source, now_ns, threshold_ns);
	out->recovery_ns = t->recovery_ns;
	return is_notable(out);
}

uint32_t ktb_tracker_record_batch(struct ktb_tracker *t, const struct ktb_datagram *in, uint32_t count,
				  uint64_t now_ns, uint64_t threshold_ns, struct ktb_outcome *out,
				  uint32_t *notable)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++)
		if (record_datagram(t, &in[i], now_ns, threshold_ns, &out[i]))
			notable[found++] = i;
	return found;
}

uint32_t ktb_tracker_drain(struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns)
{
	uint32_t found = 0;

	for (uint32_t at = 0; at < t->tracked; at++) {
		struct ktb_slot *slot = &t->slots[at];

		if (slot->flags & KTB_STALLED || since(now_ns, slot->last_ns) < threshold_ns)
			continue;
		slot->flags |= KTB_STALLED;
		slot->stalls++;
		t->drained[found++] = at;
	}
	t->stalled += found;
	t->counts[KTB_COUNT_STALLS] += found;
	return found;
}

const uint32_t *ktb_tracker_drained(const struct ktb_tracker *t)
{
	return t->drained;
}

bool ktb_tracker_forget(struct ktb_tracker *t, uint32_t pid)
{
	uint32_t at = ktb_probe_remove(&t->index, pid);

	if (at >= t->tracked)
		return false;
	unlatch(t, &t->slots[at]);
	t->tracked--;
	if (at < t->tracked) {
		t->slots[at] = t->slots[t->tracked];
		ktb_probe_insert(&t->index, t->slots[at].pid, at);
	}
	if (t->cursor >= t->tracked)
		t->cursor = 0;
	t->counts[KTB_COUNT_FORGOTTEN]++;
	return true;
}

const struct ktb_slot *ktb_tracker_get(const struct ktb_tracker *t, uint32_t pid)
{
	uint32_t at = ktb_probe_get(&t->index, pid);

	return at < t->tracked ? &t->slots[at] : NULL;
}

const struct ktb_slot *ktb_tracker_slots(const struct ktb_tracker *t)
{
	return t->slots;
}

static uint64_t total(const struct ktb_tracker *t, enum ktb_counter counter)
{
	return counter == KTB_COUNT_PROBE_EXHAUSTED ? t->index.exhausted : t->counts[counter];
}

uint64_t ktb_tracker_take(struct ktb_tracker *t, enum ktb_counter counter)
{
	uint64_t now = total(t, counter);
	uint64_t gained = now - t->taken[counter];

	t->taken[counter] = now;
	return gained;
}

int64_t ktb_tracker_take_evicted(struct ktb_tracker *t)
{
	int64_t pid = t->evicted_pid;

	t->evicted_pid = KTB_NO_PID;
	return pid;
}

void ktb_tracker_state(const struct ktb_tracker *t, struct ktb_state *ret)
{
	*ret = (struct ktb_state){
		.capacity = t->capacity,
		.tracked = t->tracked,
		.stalled = t->stalled,
		.scan_window = t->scan_window,
		.cursor = t->cursor,
	};
	for (int i = 0; i < KTB_COUNTERS; i++)
		ret->counts[i] = total(t, i);
}
