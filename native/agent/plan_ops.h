/* SPDX-License-Identifier: MIT */
/* Operations of a plan's steps: what is done to the guest at a moment of a step. plan.h defines their lines. */
#ifndef KTSTR_AGENT_PLAN_OPS_H
#define KTSTR_AGENT_PLAN_OPS_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define PLAN_CGROUP_BYTES 33
#define PLAN_WORKERS_BYTES 16
#define PLAN_TAG_BYTES 64
#define PLAN_BODY_BYTES 255

// The kinds, and their numbers on the wire: those of STIMULUS_KINDS in ktstr_tui/model/stimulus.py.
enum plan_op_kind {
	OP_ADD_CGROUP = 1,
	OP_REMOVE_CGROUP,
	OP_SET_CPUSET,
	OP_SET_WEIGHT,
	OP_SET_CPU_MAX,
	OP_FREEZE_CGROUP,
	OP_THAW_CGROUP,
	OP_MOVE_WORKERS,
	OP_SET_AFFINITY,
	OP_ATTACH_SCHEDULER,
	OP_DETACH_SCHEDULER,
	OP_REPLACE_SCHEDULER,
	OP_RESTART_SCHEDULER,
	OP_CAPTURE,
	OP_WATCH,
	OP_WRITE_KERNEL,
	OP_OFFLINE_CPU,
	OP_ONLINE_CPU,
	OP_KINDS,
};

struct plan_op {
	enum plan_op_kind kind;
	uint64_t at_ms; // since the step began
	char cgroup[PLAN_CGROUP_BYTES]; // a name, or / for the root
	char workers[PLAN_WORKERS_BYTES]; // a kind, or one of them like spin-0; empty for all
	bool has_cpus;
	cpu_set_t cpus;
	uint32_t weight, max_us, period_us; // 0 for what is not given
	int sched; // index, -1 for none
	int cpu;
	char tag[PLAN_TAG_BYTES + 1];
	uint8_t body[PLAN_BODY_BYTES]; // of a request for a kernel operation, without its id
	uint32_t body_bytes;
};

const char *plan_op_name(enum plan_op_kind kind); // "?" for none
// Whether a name of `workers` is about the worker of a name.
bool plan_op_means(const char *workers, const char *comm);
// Read the pairs of a line. Returns what is wrong with it, or NULL.
const char *plan_take_op(char *rest, struct plan_op *op);

#endif
