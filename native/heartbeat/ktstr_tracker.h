// SPDX-License-Identifier: MIT
//
// The tracker: who was heard last when. All memory is taken when it is made; no operation costs more than a fixed
// number of steps, except draining, which looks at each slot once.
//
// It knows neither clock nor socket: the time of a beat is passed in. tests/oracles/tracker.py is the same
// in Python and the specification of what each operation does.
#ifndef KTSTR_TRACKER_H
#define KTSTR_TRACKER_H

#include <stdbool.h>

#include "ktstr_vlp.h"

// cffi: begin
#define KTB_MAX_CAPACITY 4096u
#define KTB_EVICTION_MULTIPLIER 10u
#define KTB_NONCE_WRAP_WINDOW (1u << 20)
#define KTB_NO_RECOVERY UINT64_MAX
#define KTB_NO_PID (-1)

enum ktb_update {
	KTB_INSERTED,
	KTB_REFRESHED,
	KTB_OUT_OF_ORDER,
	KTB_CAPACITY_EXCEEDED,
	KTB_ORIGIN_CONFLICT,
	KTB_NAMESPACE_CONFLICT,
	KTB_UPDATES,
};

// The first six count the updates and are numbered like them.
enum ktb_counter {
	KTB_COUNT_NONCE_WRAPS = KTB_UPDATES,
	KTB_COUNT_PID_RECYCLES,
	KTB_COUNT_EVICTIONS,
	KTB_COUNT_SCAN_TRUNCATED,
	KTB_COUNT_STALLS,
	KTB_COUNT_RECOVERIES,
	KTB_COUNT_FORGOTTEN,
	KTB_COUNT_INVARIANT_VIOLATIONS,
	KTB_COUNT_PROBE_EXHAUSTED,
	KTB_COUNTERS,
};

// What is known of a sender besides its frame.
enum ktb_known {
	KTB_KNOWN_NAMESPACE = 1,
	KTB_KNOWN_GENERATION = 2,
	KTB_KNOWN_PEER = 4, // peer_pid is attested: a frame of another pid is an AUTH_FAILURE
};

struct ktb_source {
	uint64_t pid_ns_inode;
	uint64_t generation;
	uint32_t origin;
	uint32_t known;
};

enum ktb_slot_flags {
	// Besides the first two of ktb_known.
	KTB_STALLED = 8,
	KTB_TERMINAL = 16, // the last beat was a terminal one
	KTB_HAD_TERMINAL = 32, // terminal_timestamp is valid
};

struct ktb_slot {
	uint64_t last_ns;
	uint64_t nonce; // KTV_NONCE_TERMINAL: no regular one yet
	uint64_t timestamp;
	uint64_t terminal_timestamp;
	uint64_t pid_ns_inode;
	uint64_t generation;
	uint64_t beats;
	uint64_t nonce_gaps;
	uint64_t beats_missed;
	uint64_t stalls;
	uint32_t pid;
	uint32_t payload;
	uint16_t status;
	uint16_t origin;
	uint32_t flags;
};

struct ktb_state {
	uint64_t counts[KTB_COUNTERS];
	uint32_t capacity;
	uint32_t tracked;
	uint32_t stalled;
	uint32_t scan_window;
	uint32_t cursor;
	uint32_t reserved;
};

// A datagram as it was received. Receive into `bytes` with room for 33, so that a longer one is seen to be so.
struct ktb_datagram {
	uint8_t bytes[40];
	struct ktb_source source;
	uint32_t length; // as received; what lies beyond 32 is not looked at
	uint32_t peer_pid;
	uint32_t peer_uid;
	uint32_t reserved;
};

// A further value of ktb_outcome.error: the frame names another pid than its attested sender.
enum { KTB_AUTH_FAILURE = KTV_ERRORS };

struct ktb_outcome {
	struct ktv_beat beat; // also with KTB_AUTH_FAILURE; undefined with other errors
	uint64_t recovery_ns; // length of the silence that ended, or KTB_NO_RECOVERY
	uint32_t error; // enum ktv_error, or KTB_AUTH_FAILURE
	uint32_t update; // enum ktb_update, without error
};

struct ktb_tracker;

// Returns NULL without memory. Capacity and window are brought into 1..KTB_MAX_CAPACITY.
struct ktb_tracker *ktb_tracker_create(uint32_t capacity, bool balanced, uint32_t scan_window);
void ktb_tracker_destroy(struct ktb_tracker *t);

// Enter a beat.
enum ktb_update ktb_tracker_record(struct ktb_tracker *t, const struct ktv_beat *beat,
				   const struct ktb_source *source, uint64_t now_ns, uint64_t threshold_ns);
// The same with each value by itself, for callers that want to avoid building a structure.
enum ktb_update ktb_tracker_record_fields(struct ktb_tracker *t, uint32_t status, uint32_t pid,
					  uint64_t timestamp, uint64_t nonce, uint32_t payload,
					  uint64_t now_ns, uint64_t threshold_ns, uint32_t origin,
					  uint32_t known, uint64_t pid_ns_inode, uint64_t generation);
// How long the sender of the last beat had been silent, when the beat ended a stall; else KTB_NO_RECOVERY.
uint64_t ktb_tracker_last_recovery(const struct ktb_tracker *t);

// Decode and enter datagrams. `notable` gets the indexes of those that somebody should hear of: errors, new pids,
// conflicts, recoveries. Beats that refresh a slot, are out of order or find no room are only counted, so that a
// flood of them stays cheap. Returns the number of indexes.
uint32_t ktb_tracker_record_batch(struct ktb_tracker *t, const struct ktb_datagram *in, uint32_t count,
				  uint64_t now_ns, uint64_t threshold_ns, struct ktb_outcome *out,
				  uint32_t *notable);

// Latch the silences that have reached the threshold. Returns their number; ktb_tracker_drained has their slots.
uint32_t ktb_tracker_drain(struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns);
const uint32_t *ktb_tracker_drained(const struct ktb_tracker *t);

bool ktb_tracker_forget(struct ktb_tracker *t, uint32_t pid);
// The slot of a pid, or NULL.
const struct ktb_slot *ktb_tracker_get(const struct ktb_tracker *t, uint32_t pid);
// All slots in use, one after the other.
const struct ktb_slot *ktb_tracker_slots(const struct ktb_tracker *t);

uint64_t ktb_tracker_take(struct ktb_tracker *t, enum ktb_counter counter);
// The pid that last lost its slot, once; or KTB_NO_PID.
int64_t ktb_tracker_take_evicted(struct ktb_tracker *t);
void ktb_tracker_state(const struct ktb_tracker *t, struct ktb_state *ret);
// cffi: end

#endif
