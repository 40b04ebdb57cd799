/* SPDX-License-Identifier: MIT */
/* The words of a plan's line: key=value pairs, numbers, names and lists of CPUs. */
#ifndef KTSTR_AGENT_PLAN_TEXT_H
#define KTSTR_AGENT_PLAN_TEXT_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

// Consumes one key=value pair. Returns what is wrong with it, or NULL.
typedef const char *(*plan_take_fn)(void *into, const char *key, char *value);

// Take the rest of a line, which is modified, pair by pair. Returns what is wrong with it, or NULL.
const char *plan_take_pairs(char *rest, plan_take_fn take, void *into);
bool plan_take_number(const char *value, long min, long max, long *ret);
bool plan_take_string(char *into, size_t bytes, const char *value); // not empty, and shorter than `bytes`
bool plan_take_cpus(cpu_set_t *cpus, const char *value); // a list such as 0-2,5

#endif
