/* SPDX-License-Identifier: MIT */
/*
 * The process of a scheduler: started, listened to, signalled, reaped.
 *
 * There are two, so that an object can be verified while the scheduler before it still runs. The loader of an object
 * (loader.c) holds it, verified and not attached, until it is released; a program attaches by itself.
 */
#ifndef KTSTR_AGENT_PROGRAM_H
#define KTSTR_AGENT_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "plan.h"
#include "refusal.h"

#define PROGRAM_LOG_BYTES 49152 // of its output are kept, the last

struct program {
	const struct plan_sched *sched; // NULL before it was ever started
	pid_t pid; // 0 while there is no process
	int log_fd; // its stdout and stderr, -1 once at the end
	int hold_fd; // to the loader of an object, -1 for a program
	bool verified; // the kernel has accepted the object's programs
	bool linked; // the loader says that it is attached
	struct refusal refusal;
	size_t log_bytes; // printed so far
	char log[PROGRAM_LOG_BYTES]; // a ring
};

// The one that is not `other`; any when `other` is NULL.
struct program *program_other(const struct program *other);
// Start a scheduler's process. With `hold` its loader waits for program_release(), and leaves a quarter of its CPU to others.
int program_start(struct program *program, const struct plan_sched *sched, bool hold); // 0, or -1 and errno
void program_release(struct program *program); // what is held may attach
void program_signal(const struct program *program, int signal); // its whole process group
// A child ended: read what it printed last, and close what leads to it. Returns whether it was this program's.
bool program_reaped(struct program *program, pid_t pid, int status, int *code);
// The end of what it printed, from the beginning of a line on. Returns its size.
size_t program_log(const struct program *program, char *text, size_t bytes);

#endif
