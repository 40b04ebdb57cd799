// SPDX-License-Identifier: MIT
//
// What /proc says of a pid is kept for a while: a lookup costs a hundred times as much as all the rest. The
// memory is as long as the tracker's and may forget (two pids share a place), which costs a lookup more. A nonce that
// does not grow may be that of a new process under an old pid, so it shortens the while, but does not end it: else
// a sender that repeats one beat would keep this program busy with /proc.
#define _GNU_SOURCE
#include "ktstr_gate.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ktstr_probe.h"

#define PLACES (2 * KTB_MAX_CAPACITY)
#define DOUBTED_TTL_NS 10000000ULL
#define MILLI 1000ULL
#define NS_PER_MILLI_TOKEN 1000000ULL // at one beat a second
#define START_TIME_FIELD 19 // in /proc/PID/stat, counted from the state, the first field after the name

struct identity {
	uint64_t read_ns;
	uint64_t pid_ns_inode;
	uint64_t generation;
	uint32_t pid; // 0: nothing is remembered here
	uint32_t known;
};

struct ktr_gate {
	struct ktr_rules rules;
	struct ktr_gate_state state;
	uint64_t refilled_ns;
	uint64_t remainder;
	bool filled;
	struct identity identities[PLACES];
};

struct ktr_gate *ktr_gate_create(const struct ktr_rules *rules)
{
	struct ktr_gate *g = calloc(1, sizeof(*g));

	if (g) {
		g->rules = *rules;
		g->state.milli_tokens = rules->burst * MILLI;
	}
	return g;
}

void ktr_gate_destroy(struct ktr_gate *g)
{
	free(g);
}

void ktr_gate_set_pid_max(struct ktr_gate *g, uint32_t pid_max)
{
	g->rules.pid_max = pid_max;
}

static void refill(struct ktr_gate *g, uint64_t now_ns)
{
	uint64_t most = g->rules.burst * MILLI;
	unsigned __int128 gained;

	if (!g->filled || now_ns < g->refilled_ns) {
		g->filled = true;
		g->refilled_ns = now_ns;
		return;
	}
	gained = (unsigned __int128)(now_ns - g->refilled_ns) * g->rules.beats_per_s + g->remainder;
	g->refilled_ns = now_ns;
	g->remainder = (uint64_t)(gained % NS_PER_MILLI_TOKEN);
	gained = gained / NS_PER_MILLI_TOKEN + g->state.milli_tokens;
	g->state.milli_tokens = gained > most ? most : (uint64_t)gained;
}

static bool take_token(struct ktr_gate *g)
{
	if (!g->rules.beats_per_s)
		return true;
	if (g->state.milli_tokens < MILLI)
		return false;
	g->state.milli_tokens -= MILLI;
	return true;
}

static bool read_generation(uint32_t pid, uint64_t *generation)
{
	char path[32], text[1024], *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	// The name is in parentheses and may hold anything; the numbers follow the last one.
	at = strrchr(text, ')');
	for (int field = 0; at && field <= START_TIME_FIELD; field++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	if (!at)
		return false;
	*generation = strtoull(at, NULL, 10);
	return true;
}

static void look_up(struct ktr_gate *g, struct identity *identity, uint32_t pid, uint64_t now_ns)
{
	char path[32];
	struct stat namespace;

	*identity = (struct identity){ .pid = pid, .read_ns = now_ns };
	g->state.lookups++;
	snprintf(path, sizeof(path), "/proc/%u/ns/pid", pid);
	if (!stat(path, &namespace)) {
		identity->pid_ns_inode = namespace.st_ino;
		identity->known |= KTB_KNOWN_NAMESPACE;
	} else {
		g->state.unreadable++;
	}
	if (read_generation(pid, &identity->generation))
		identity->known |= KTB_KNOWN_GENERATION;
}

// Say who the sender is, besides its pid. False when it is of a namespace that is not let in.
static bool identify(struct ktr_gate *g, struct ktb_datagram *in, const struct ktv_beat *beat,
		     const struct ktb_slot *slot, uint64_t now_ns)
{
	struct identity *identity = &g->identities[ktb_mix32(beat->pid) % PLACES];
	bool doubted = slot && beat->nonce <= slot->nonce && g->rules.identity_ttl_ns > DOUBTED_TTL_NS;
	uint64_t ttl_ns = doubted ? DOUBTED_TTL_NS : g->rules.identity_ttl_ns;

	if (identity->pid != beat->pid || !slot || now_ns - identity->read_ns >= ttl_ns)
		look_up(g, identity, beat->pid, now_ns);
	in->source.known |= identity->known;
	in->source.pid_ns_inode = identity->pid_ns_inode;
	in->source.generation = identity->generation;
	return !(identity->known & KTB_KNOWN_NAMESPACE) || identity->pid_ns_inode == g->rules.pid_ns_inode;
}

// What the gate says to a datagram, or 0 to leave it to the tracker.
static uint32_t judge(struct ktr_gate *g, const struct ktb_tracker *t, struct ktb_datagram *in,
		      uint64_t now_ns, struct ktv_beat *beat)
{
	const struct ktr_rules *rules = &g->rules;
	bool peer = in->source.known & KTB_KNOWN_PEER, decoded, last_word;
	const struct ktb_slot *slot;

	decoded = ktv_decode(in->bytes, in->length, beat) == KTV_GOOD;
	if (peer && rules->check_uid && in->peer_uid != rules->uid) {
		if (!decoded)
			*beat = (struct ktv_beat){ 0 };
		return KTR_FOREIGN_UID;
	}
	if (!decoded)
		return 0;
	if (rules->pid_max && beat->pid > rules->pid_max)
		return KTR_PID_ABOVE_MAX;
	if (peer && in->peer_pid != beat->pid)
		return 0;
	slot = ktb_tracker_get(t, beat->pid);
	// The first terminal frame of a process is never held back by its own rate.
	last_word = slot && beat->nonce == KTV_NONCE_TERMINAL && !(slot->flags & KTB_TERMINAL);
	if (rules->min_interval_ns && slot && !last_word && now_ns - slot->last_ns < rules->min_interval_ns)
		return KTR_PID_LIMITED;
	if (!take_token(g) && !(last_word && peer))
		return KTR_ALL_LIMITED;
	if (peer && rules->pid_ns_inode && !identify(g, in, beat, slot, now_ns))
		return KTR_FOREIGN_NAMESPACE;
	return 0;
}

// Whether it is worth an event. Floods of what is merely too much, too late or too many are only counted.
static bool is_trouble(const struct ktb_outcome *outcome)
{
	switch (outcome->error) {
	case KTV_GOOD:
		return outcome->update == KTB_ORIGIN_CONFLICT || outcome->update == KTB_NAMESPACE_CONFLICT;
	case KTR_PID_ABOVE_MAX:
	case KTR_PID_LIMITED:
	case KTR_ALL_LIMITED:
		return false;
	default:
		return true;
	}
}

uint32_t ktr_gate_pass(struct ktr_gate *g, struct ktb_tracker *t, struct ktb_datagram *in, uint32_t count,
		       uint64_t now_ns, uint64_t threshold_ns, struct ktb_outcome *out, uint32_t *notable,
		       uint32_t told)
{
	uint32_t found = 0, ignored;

	refill(g, now_ns);
	for (uint32_t i = 0; i < count; i++) {
		out[i].error = judge(g, t, &in[i], now_ns, &out[i].beat);
		out[i].recovery_ns = KTB_NO_RECOVERY;
		if (!out[i].error)
			ktb_tracker_record_batch(t, &in[i], 1, now_ns, threshold_ns, &out[i], &ignored);
		g->state.errors[out[i].error]++;
		if (!out[i].error && out[i].recovery_ns != KTB_NO_RECOVERY) {
			notable[found++] = i;
		} else if (told && is_trouble(&out[i])) {
			notable[found++] = i;
			told--;
		}
	}
	return found;
}

bool ktr_any_due(const struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns)
{
	const struct ktb_slot *slots = ktb_tracker_slots(t);
	struct ktb_state state;

	ktb_tracker_state(t, &state);
	for (uint32_t i = 0; i < state.tracked; i++) {
		if (!(slots[i].flags & KTB_STALLED) && now_ns >= slots[i].last_ns &&
		    now_ns - slots[i].last_ns >= threshold_ns)
			return true;
	}
	return false;
}

void ktr_datagrams_of_frames(const uint8_t *frames, uint32_t count, uint32_t origin, struct ktb_datagram *out)
{
	for (uint32_t i = 0; i < count; i++) {
		out[i] = (struct ktb_datagram){ .source.origin = origin, .length = KTV_FRAME_SIZE };
		memcpy(out[i].bytes, frames + (size_t)i * KTV_FRAME_SIZE, KTV_FRAME_SIZE);
	}
}

void ktr_gate_state(const struct ktr_gate *g, struct ktr_gate_state *ret)
{
	*ret = g->state;
}
