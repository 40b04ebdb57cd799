/* SPDX-License-Identifier: MIT */
/*
 * The only place where PID 1 sleeps.
 *
 * pump() calls the registered tickers, sleeps until the earliest time that one of them named, a descriptor is ready
 * or a child ended, serves what came, and returns. The loop knows the bulk port; of everything else it knows only
 * what was registered.
 *
 * A watched descriptor is served at most every WATCH_REST_NS, and its function takes a bounded amount each time. So
 * a process that prints without end cannot keep PID 1, and with it a CPU, busy.
 */
#ifndef KTSTR_AGENT_LOOP_H
#define KTSTR_AGENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint64_t (*loop_tick_fn)(uint64_t now_ns); // does what is due; returns when to call it again
typedef bool (*loop_reaped_fn)(pid_t pid, int status); // a child ended; returns whether it was the module's
typedef void (*loop_ready_fn)(int fd); // reads a bounded amount; unwatches fd when it is at its end

int loop_init(void); // 0, or -1
// Register functions of a module, once, before the first pump(). Either may be NULL. Reapers are asked in this order.
void loop_register(loop_tick_fn tick, loop_reaped_fn reaped);
void pump(uint64_t until_ns); // returns early when something happened
void pump_watch(int fd, loop_ready_fn ready);
void pump_unwatch(int fd);

#endif
