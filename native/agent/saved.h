/* SPDX-License-Identifier: MIT */
/*
 * A boot that can be saved: the guest stands still when all that is the same in every run has been done.
 *
 * Where the machine has a port named SAVED_PORT, PID 1 says there that it has come so far and waits. The host saves the
 * machine, or not, and lets it go on, now or in another run weeks later. Only then are the files of the run read. So up
 * to here nothing may be read that a run decides, and nothing said to the host that it has to hear.
 */
#ifndef KTSTR_AGENT_SAVED_H
#define KTSTR_AGENT_SAVED_H

#include <stddef.h>

#define SAVED_PORT "ktstr-saved-boot"
#define RUN_FILES "opt/ktstr/files"

// Wait where the machine is saved, then bring in the files of the run. Returns 0, or -1 and what is wrong.
int saved_boot(char *problem, size_t bytes);

#endif
