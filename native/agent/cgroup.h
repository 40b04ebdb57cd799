/* SPDX-License-Identifier: MIT */
/*
 * The scenario's cgroups: directories in the root of cgroup2.
 *
 * Every function here may wait for the kernel as long as it likes, because others hold its locks. So none of them is
 * called by PID 1 itself: workers and the children of op.c do. Each returns 0 or the number of an error, and then says
 * in `detail` which file of the cgroup it is about.
 */
#ifndef KTSTR_AGENT_CGROUP_H
#define KTSTR_AGENT_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

#include "plan_ops.h"

#define CGROUP_DETAIL_BYTES 128

// Let the root's children have the controllers that there are.
void cgroup_enable(void);
int cgroup_add(const struct plan_op *op, char *detail);
int cgroup_remove(const char *name, char *detail);
int cgroup_set_cpus(const struct plan_op *op, char *detail);
int cgroup_set_weight(const struct plan_op *op, char *detail);
int cgroup_set_max(const struct plan_op *op, char *detail);
int cgroup_freeze(const char *name, bool freeze, char *detail); // returns once the kernel says that it is so
int cgroup_move(const char *name, pid_t pid, char *detail); // "/" for the root, pid 0 for the caller

#endif
