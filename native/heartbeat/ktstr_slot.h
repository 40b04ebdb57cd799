// SPDX-License-Identifier: MIT
//
// The rules of one slot, for inclusion by ktstr_tracker.c: whether a beat belongs to the process that has the slot,
// whether it follows the last one, and what it changes. The functions that judge change nothing.
#ifndef KTSTR_SLOT_H
#define KTSTR_SLOT_H

#include "ktstr_tracker.h"

static inline uint64_t since(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

static inline bool is_terminal(const struct ktv_beat *beat)
{
	return beat->nonce == KTV_NONCE_TERMINAL;
}

// Take an accepted beat over.
static inline void slot_write(struct ktb_slot *slot, const struct ktv_beat *beat, uint64_t now_ns)
{
	slot->flags &= ~(uint32_t)KTB_TERMINAL;
	if (is_terminal(beat)) {
		slot->flags |= KTB_TERMINAL | KTB_HAD_TERMINAL;
		slot->terminal_timestamp = beat->timestamp;
	} else {
		slot->nonce = beat->nonce;
	}
	slot->timestamp = beat->timestamp;
	slot->status = (uint16_t)beat->status;
	slot->payload = beat->payload;
	slot->last_ns = now_ns;
	slot->beats++;
}

// Let the slot know what it did not know of its sender.
static inline void slot_learn(struct ktb_slot *slot, const struct ktb_source *source)
{
	uint32_t news = source->known & ~slot->flags;

	if (news & KTB_KNOWN_NAMESPACE)
		slot->pid_ns_inode = source->pid_ns_inode;
	if (news & KTB_KNOWN_GENERATION)
		slot->generation = source->generation;
	slot->flags |= news & (KTB_KNOWN_NAMESPACE | KTB_KNOWN_GENERATION);
}

static inline void slot_begin(struct ktb_slot *slot, const struct ktv_beat *beat,
			      const struct ktb_source *source, uint64_t now_ns)
{
	*slot = (struct ktb_slot){
		.pid = beat->pid,
		.nonce = KTV_NONCE_TERMINAL,
		.origin = (uint16_t)source->origin,
	};
	slot_learn(slot, source);
	slot_write(slot, beat, now_ns);
}

static inline bool is_recycled(const struct ktb_slot *slot, const struct ktb_source *source)
{
	return (slot->flags & source->known & KTB_KNOWN_GENERATION) && slot->generation != source->generation;
}

// Whether a beat comes from another pid namespace. A dying process may no longer be readable.
static inline bool is_elsewhere(const struct ktb_slot *slot, const struct ktb_source *source, bool terminal)
{
	if (!(slot->flags & KTB_KNOWN_NAMESPACE))
		return false;
	if (!(source->known & KTB_KNOWN_NAMESPACE))
		return !terminal;
	return slot->pid_ns_inode != source->pid_ns_inode;
}

// Whether a beat goes on from the last one; then `*missed` nonces were left out.
static inline bool goes_on(const struct ktb_slot *slot, const struct ktv_beat *beat, uint64_t *missed,
			   bool *wrapped)
{
	*missed = 0;
	*wrapped = false;
	// A terminal beat is judged by its clock, because the nonces of the process may go on after it.
	if (is_terminal(beat))
		return !(slot->flags & KTB_HAD_TERMINAL) || beat->timestamp > slot->terminal_timestamp;
	if (slot->nonce == KTV_NONCE_TERMINAL)
		return true;
	if (beat->nonce > slot->nonce) {
		*missed = beat->nonce - slot->nonce - 1;
		return true;
	}
	if (slot->nonce >= UINT64_MAX - KTB_NONCE_WRAP_WINDOW && beat->nonce < KTB_NONCE_WRAP_WINDOW) {
		*missed = KTV_NONCE_TERMINAL - 1 - slot->nonce + beat->nonce;
		*wrapped = true;
		return true;
	}
	return false;
}

#endif
