/* SPDX-License-Identifier: MIT */
/*
 * The workers of a step: processes that load the machine in a known way and count what they get done.
 *
 * Each has a slot in memory shared with PID 1, so that counting costs the worker one store and reading costs
 * it nothing. Names are the kind and a number that is unique within the step: spin-0, pipe-3.
 */
#ifndef KTSTR_AGENT_WORKER_H
#define KTSTR_AGENT_WORKER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plan.h"

int worker_init(void); // register with the loop; 0, or -1
// Start all workers of a step; -1 and a sentence in problem when one could not be started as asked.
int worker_start(const struct plan_step *step, char *problem, size_t bytes);
void worker_stop(void); // kill all; they are reaped by the loop as they end
uint32_t worker_count(void); // running ones
// The running workers that a name is about, into room for PLAN_MAX_PROCESSES. Returns how many.
uint32_t worker_find(const char *names, pid_t *pids);
uint64_t worker_iterations(void); // of all workers since boot
uint32_t worker_op_kinds(const struct plan_step *step); // bit per kind
void worker_report(void); // send a WorkerReport frame

#endif
