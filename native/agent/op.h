/* SPDX-License-Identifier: MIT */
/*
 * Operations of the scenario's steps, carried out where the scenario waits anyway, and each told to the host.
 *
 * The hard thing: many of them are writes to files of the kernel, which may wait for locks that others hold for long, or
 * for tasks that a scheduler does not run. PID 1 must not. So a child does the writing, real-time like PID 1 so that no
 * scheduler can keep it from it, and PID 1 waits for its word in pump(), at most OP_WITHIN_NS.
 */
#ifndef KTSTR_AGENT_OP_H
#define KTSTR_AGENT_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"

#define OP_BEFORE_STEPS 0xffff // in the place of a step: before the first

void op_init(void); // register with the loop
void op_begin(uint64_t start_ns); // the scenario's clock starts
// Do one and tell the host. 0, or the number of an error.
int op_do(uint16_t step, uint16_t index, const struct plan_op *op);
void op_pass_over(uint16_t step, uint16_t index,
		  const struct plan_op *op); // its step ended before: tell the host
uint32_t op_cgroups(void); // how many there are

#endif
