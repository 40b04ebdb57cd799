/* SPDX-License-Identifier: MIT */
/* What a worker process does, forever, once it is what it should be. One function per kind. */
#ifndef KTSTR_AGENT_WORK_H
#define KTSTR_AGENT_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "beat.h"
#include "plan.h"

struct work_slot {
	uint64_t iterations;
	uint32_t turn; // of a futex pair: whose turn it is, 0 or 1
	struct beat_slot beat;
} __attribute__((aligned(64)));

// The link of two processes that hand a turn to and fro.
struct work_pair {
	bool second; // this process answers, the other begins
	int there[2], back[2]; // pipe kind
	uint32_t *turn; // futex kind
};

/* Take the seed, if the run has one. */
void work_init(void);
/* Take the seed of a run whose boot was saved: it comes later than the kernel's command line. */
void work_take_seed(uint64_t number);
int work_pair_open(struct work_pair *pair, enum worker_kind kind, struct work_slot *first);
void work_pair_close(struct work_pair *pair);
void work(enum worker_kind kind, struct work_slot *slot, struct work_pair *pair, uint32_t number)
	__attribute__((noreturn));

#endif
