/* SPDX-License-Identifier: MIT */
/*
 * Heartbeats: every worker sends one about ten times a second while it runs, and PID 1 passes them on.
 *
 * A beat must be made by the very task that it reports, or it would prove nothing. PID 1 raises the pulse, a number in
 * shared memory; a worker that finds at the end of an iteration that the pulse has moved since its last beat writes a
 * frame into its slot. So an iteration costs one load more, and a worker that does not run does not beat. PID 1
 * collects the frames when it raises the pulse again, and sends them with one of its own as one Beats frame.
 *
 * Frames are those of ../heartbeat/ktstr_vlp.h. Their payload is the low half of the worker's iterations.
 */
#ifndef KTSTR_AGENT_BEAT_H
#define KTSTR_AGENT_BEAT_H

#include <stdint.h>

#include "../heartbeat/ktstr_vlp.h"

#define BEAT_KEPT 4 // frames of one worker that PID 1 has not collected yet
// The sender's pid in the frames of PID 1 itself: the protocol refuses 1, and no task can have this one (PID_MAX_LIMIT).
#define BEAT_PROGRAM_PID 4194304u

struct beat_slot {
	uint64_t made; // frames so far, and the nonce of the newest
	uint64_t start_ns;
	uint32_t pulse; // the one that was last answered
	uint8_t frames[BEAT_KEPT][KTV_FRAME_SIZE];
};

// In PID 1.
int beat_init(void); // before the first worker
void beat_begin(uint32_t number, struct beat_slot *slot); // before the worker of this slot is started
void beat_collect(uint32_t number, const struct beat_slot *slot); // take what the worker has made
void beat_send(uint32_t workers); // send what was collected, and raise the pulse

// In a worker, after each iteration.
void beat_if_due(struct beat_slot *slot, uint64_t iterations);

#endif
