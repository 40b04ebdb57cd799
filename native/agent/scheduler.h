/* SPDX-License-Identifier: MIT */
/*
 * The scheduler under test: one child process at a time, watched from outside.
 *
 * A BPF object gets this same binary as loader (loader.c); a program is run as it is. Whether it took over is
 * asked of the kernel (/sys/kernel/sched_ext/state), the same way for both. Why it was thrown out is
 * in the kernel log, which works for every scheduler, whatever it records itself: lines that begin with
 * "sched_ext:" are sent on as SchedLog while a scheduler is loaded.
 */
#ifndef KTSTR_AGENT_SCHEDULER_H
#define KTSTR_AGENT_SCHEDULER_H

#include <stdbool.h>

#include "plan.h"

void sched_init(void); // register with the loop, before the first scheduler
int sched_start(
	const struct plan_sched *sched); // 0 once attached; -1 when it did not (which the host was sent)
void sched_stop(void); // detach in order; returns when the process has ended
bool sched_is(const struct plan_sched *sched); // this one is loaded now
bool sched_ejected(void); // the last one started was thrown out or died on its own
bool sched_any_ejected(void);

#endif
