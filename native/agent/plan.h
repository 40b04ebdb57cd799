/* SPDX-License-Identifier: MIT */
/*
 * /ktstr/plan: the scenario as the host wrote it. This comment is the definition of the format; the writer is
 * encode_plan() in ktstr_tui/guest/scenario.py.
 *
 * ASCII lines, each a word and then key=value pairs separated by one space. In values every byte outside
 * A-Z a-z 0-9 . _ : / - , + is written %XX. Order matters:
 *
 *   ktstr-plan 2
 *   sched name=NAME kind=object|program arg=GUEST-PATH [arg=ARGUMENT]...      (0 to 16 lines)
 *   cgroup kind=add-cgroup at_ms=0 cgroup=NAME [cpus=LIST] [weight=N] [max_us=N] [period_us=N]  (0 to 32 lines)
 *   step name=NAME duration_ms=N until=duration|ejected [sched=INDEX] [capture=TAG] [watch=SYMBOL]
 *        [fail=panic|hang|reboot]
 *   worker kind=KIND count=N policy=POLICY nice=N [cpus=LIST] [cgroup=NAME]   (0 to 32 lines after their step)
 *   op kind=OP at_ms=N [KEY=VALUE]...                   (0 to 256 lines in all, after their step, at_ms ascending)
 *   end steps=N
 *
 * The first arg is absolute; a program finds its libraries in the directory lib beside it. sched=INDEX counts
 * sched lines from 0; a step without it runs on the kernel's own scheduler. KIND and POLICY are those of
 * worker_kinds and worker_policies in plan.c. LIST is 0-2,5. The last line lets the reader notice a plan that was
 * cut. OP and its keys are those of the table in plan_ops.c; body is the MessagePack part of a KernelOpRequest in
 * hexadecimal digits, and a cgroup is a name in the root, in which at the begin are those of the cgroup lines. An unknown word, key or value, a missing key or a number out of range refuses the plan.
 */
#ifndef KTSTR_AGENT_PLAN_H
#define KTSTR_AGENT_PLAN_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan_ops.h"

#define PLAN_MAX_BYTES 65536
#define PLAN_MAX_SCHEDS 16
#define PLAN_MAX_ARGS 32
#define PLAN_MAX_STEPS 64
#define PLAN_MAX_GROUPS 32
#define PLAN_MAX_PROCESSES 256 // per step
#define PLAN_NAME_BYTES 256 // a file name of the longest fits
#define PLAN_MAX_CGROUPS 32
#define PLAN_MAX_OPS 256

enum worker_kind {
	WORKER_SPIN,
	WORKER_YIELD,
	WORKER_BURSTY,
	WORKER_PIPE,
	WORKER_FUTEX,
	WORKER_FORK,
	WORKER_MIXED,
	WORKER_SLEEP,
	WORKER_KINDS,
};

extern const char *const worker_kinds[WORKER_KINDS];

struct plan_sched {
	char name[PLAN_NAME_BYTES];
	bool is_object; // a BPF object for the loader; else a program to run
	char *argv[PLAN_MAX_ARGS + 1];
};

struct plan_group {
	enum worker_kind kind;
	uint32_t count; // pairs for pipe and futex
	int policy;
	int nice;
	bool pinned;
	cpu_set_t cpus;
	char cgroup[PLAN_CGROUP_BYTES]; // empty for the root
};

struct plan_step {
	char name[PLAN_NAME_BYTES];
	uint64_t duration_ms;
	bool until_ejected;
	int sched; // index, -1 for the kernel's own
	char capture[PLAN_TAG_BYTES + 1];
	char watch[PLAN_TAG_BYTES + 1]; // a symbol, or an expression like scx_root->exit_kind
	char fail[8];
	uint32_t nr_groups;
	struct plan_group groups[PLAN_MAX_GROUPS];
	uint32_t nr_ops;
	const struct plan_op *ops; // in the order of their time
};

struct plan {
	uint32_t nr_scheds;
	struct plan_sched scheds[PLAN_MAX_SCHEDS];
	uint32_t nr_cgroups;
	struct plan_op cgroups[PLAN_MAX_CGROUPS]; // each is OP_ADD_CGROUP
	uint32_t nr_steps;
	struct plan_step steps[PLAN_MAX_STEPS];
	uint32_t nr_ops;
	struct plan_op ops[PLAN_MAX_OPS]; // of all steps, one step's after the other's
};

uint32_t plan_group_processes(const struct plan_group *group);
uint32_t plan_step_processes(const struct plan_step *step);
// Parse text (modified in place, NUL-terminated). On failure -1 and a sentence with the line in problem.
int plan_parse(char *text, struct plan *plan, char *problem, size_t bytes);
int plan_read(const char *path, struct plan *plan, char *problem, size_t bytes);

#endif
