/* SPDX-License-Identifier: MIT */
/* The answer to a wish to change the scheduler: a SchedReply to the host, or kept for the scenario. */
#ifndef KTSTR_AGENT_SWAP_REPLY_H
#define KTSTR_AGENT_SWAP_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "program.h"
#include "refusal.h"

#define SWAP_REASON_BYTES 768
#define SWAP_OWN_ID 0 // of what the scenario wants; no command of the host has it

enum swap_status { ATTACHED = 1, STORED, DETACHED, REJECTED, FAILED }; // the wire's, of a SchedReply

// What became of the newest wish of the scenario.
struct swap_own {
	enum swap_status status;
	char reason[SWAP_REASON_BYTES];
};
extern struct swap_own swap_own;
extern char *const swap_reply_log; // PROGRAM_LOG_BYTES, for what goes along with the next answer

// Answer a command; `log` bytes of swap_reply_log go along.
void swap_reply(uint32_t id, enum swap_status status, enum refuser who, const char *reason, size_t log);

#endif
