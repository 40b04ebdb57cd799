/* SPDX-License-Identifier: MIT */
/*
 * What the host asks for while the scenario runs: attach, detach or replace the scheduler.
 *
 * One command is carried out at a time, and each is answered with one SchedReply. An object is first loaded and verified
 * by a second loader, while the scheduler before it still runs. Only when the kernel has accepted its programs is the old
 * one detached, in order, and the new one attached. When that fails, the old one is loaded again.
 *
 * Verifying happens beside the scenario, in ticks. The swap itself may wait for processes, so it is carried out where the
 * scenario waits anyway: swap_serve().
 */
#ifndef KTSTR_AGENT_SWAP_H
#define KTSTR_AGENT_SWAP_H

#include <stdbool.h>
#include <stddef.h>

#include "plan.h"

enum swap_wish { SWAP_ATTACH, SWAP_DETACH, SWAP_REPLACE };

// Register with the loop. The schedulers of `plan` are what commands are about; one that is replaced changes there.
void swap_init(struct plan *plan);
void swap_begin_step(
	int sched); // a step begins whose scheduler is this one of the plan; -1 for the kernel's own
// What the scenario itself wants, with the scheduler of the plan that is meant; -1 for the one that is loaded, or that of the
// step. Returns when it is over: whether it was done, or why not in `reason`.
bool swap_do(enum swap_wish wish, int sched, char *reason, size_t bytes);
void swap_serve(void); // carry out what is ready to be
void swap_end(void); // the scenario has ended: refuse what is asked for, now and later

#endif
