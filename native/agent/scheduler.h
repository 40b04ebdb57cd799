/* SPDX-License-Identifier: MIT */
/*
 * The scheduler under test: one child process at a time (program.h), watched from outside.
 *
 * A BPF object gets this same binary as loader (loader.c); a program is run as it is. Whether it took over is
 * asked of the kernel (/sys/kernel/sched_ext/state), the same way for both. Why it was thrown out is
 * in the kernel log, which works for every scheduler, whatever it records itself: lines that begin with
 * "sched_ext:" are sent on as SchedLog while a scheduler is loaded.
 */
#ifndef KTSTR_AGENT_SCHEDULER_H
#define KTSTR_AGENT_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"
#include "program.h"
#include "refusal.h"

#define SCHED_REASON_BYTES 700

// Why a scheduler did not attach, for whoever asked for it.
struct sched_refusal {
	enum refuser who;
	char reason[SCHED_REASON_BYTES];
};

void sched_init(void); // register with the loop, before the first scheduler
// Load a scheduler; none may be loaded. 0 once attached; -1 when it did not, which `refusal` then explains, or for NULL
// the host was told as the end of the scenario.
int sched_start(const struct plan_sched *sched, struct sched_refusal *refusal);
struct program *sched_spare_program(void); // one that is not the last one started
int sched_release(struct program *program, struct sched_refusal *refusal); // the same with one that is held
void sched_stop(void); // detach in order; returns when the process has ended
const struct plan_sched *sched_loaded(void); // attached now; NULL for the kernel's own
uint64_t
sched_enable_seq(void); // the kernel's count of schedulers when it was attached; 0 where it does not count
// Why a program that has ended attached nothing, from what it printed, or `otherwise`.
void sched_why_not(struct program *program, const char *otherwise, struct sched_refusal *why);
bool sched_ejected(void); // the last one started was thrown out or died on its own
bool sched_any_ejected(void);

#endif
