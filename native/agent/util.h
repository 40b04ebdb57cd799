/* SPDX-License-Identifier: MIT */
/* Time and small files: what every module needs and what needs no module. */
#ifndef KTSTR_AGENT_UTIL_H
#define KTSTR_AGENT_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

uint64_t now_ns(void); // CLOCK_MONOTONIC

// Read the first bytes of a file, without spaces and newlines at its end. Returns the length, or -1.
int read_small_file(const char *path, char *text, size_t bytes);
int write_small_file(const char *path, const char *text); // 0, or -1

#endif
