// SPDX-License-Identifier: MIT
//
// The way of a datagram to the tracker: decoded, compared with who sent it, held against the rate limits, and only
// then looked up in /proc, because that is what costs.
//
// In this order, and the first that fails is the answer: the sender's uid, the frame, a pid above the machine's
// highest, a pid that is not the sender's, the rate of this pid, the rate of all, the sender's pid namespace, and
// what the tracker says.
#ifndef KTSTR_GATE_H
#define KTSTR_GATE_H

#include "ktstr_tracker.h"

// cffi: begin
// Further values of ktb_outcome.error, for what the gate itself refuses. The outcome has the beat.
enum ktr_refusal {
	KTR_FOREIGN_UID = KTB_AUTH_FAILURE + 1,
	KTR_PID_ABOVE_MAX,
	KTR_PID_LIMITED,
	KTR_ALL_LIMITED,
	KTR_FOREIGN_NAMESPACE,
	KTR_REFUSALS_END,
};

struct ktr_rules {
	uint64_t min_interval_ns; // between beats of one pid; 0: no limit
	uint64_t beats_per_s; // of all pids; 0: no limit
	uint64_t burst; // beats that may come at once after a pause
	uint64_t pid_ns_inode; // the only namespace let in; 0: all are, without a lookup
	uint64_t identity_ttl_ns; // how long what /proc said of a pid is believed
	uint32_t pid_max; // 0: no limit
	uint32_t uid;
	uint32_t check_uid;
	uint32_t reserved;
};

struct ktr_gate_state {
	uint64_t errors[KTR_REFUSALS_END]; // by ktb_outcome.error
	uint64_t lookups; // of /proc
	uint64_t unreadable; // lookups that found no namespace
	uint64_t milli_tokens; // of the limit of all pids, in thousandths of a beat
};

struct ktr_gate;

// Returns NULL without memory.
struct ktr_gate *ktr_gate_create(const struct ktr_rules *rules);
void ktr_gate_destroy(struct ktr_gate *g);
void ktr_gate_set_pid_max(struct ktr_gate *g, uint32_t pid_max);

// Let datagrams through to the tracker. `notable` gets the indexes of all that ended a stall, and of the first `told`
// that are worth an event: bad frames, wrong senders, conflicts. All are counted. Returns the number of indexes.
uint32_t ktr_gate_pass(struct ktr_gate *g, struct ktb_tracker *t, struct ktb_datagram *in, uint32_t count,
		       uint64_t now_ns, uint64_t threshold_ns, struct ktb_outcome *out, uint32_t *notable,
		       uint32_t told);
// Whether draining the tracker now would state a stall.
bool ktr_any_due(const struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns);
// Make datagrams of frames that lie one after the other.
void ktr_datagrams_of_frames(const uint8_t *frames, uint32_t count, uint32_t origin,
			     struct ktb_datagram *out);
void ktr_gate_state(const struct ktr_gate *g, struct ktr_gate_state *ret);
// cffi: end

#endif
