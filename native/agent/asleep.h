/* SPDX-License-Identifier: MIT */
/*
 * For how long all processes of a session have slept.
 *
 * A program whose scheduler is gone may be busy with the next one: it compiles, loads, is verified. One that sleeps waits
 * for something that may never come. What tells them apart is whether any of its processes uses a CPU, or wants one.
 */
#ifndef KTSTR_AGENT_ASLEEP_H
#define KTSTR_AGENT_ASLEEP_H

#include <stdint.h>
#include <sys/types.h>

struct asleep {
	pid_t session;
	uint64_t looked_ns;
	uint64_t cpu_ns; // used by its processes, at the last look
	uint64_t for_ns; // slept since the beginning
};

void asleep_begin(struct asleep *asleep, pid_t session, uint64_t now_ns);
// Look at /proc when that is due. Returns how long they have slept in all, in nanoseconds.
uint64_t asleep_look(struct asleep *asleep, uint64_t now_ns);

#endif
