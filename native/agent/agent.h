/* SPDX-License-Identifier: MIT */
/*
 * The guest program: PID 1 of the test machine, one static binary.
 *
 * It brings the machine up, reports to the host over one virtio-serial port, runs the scenario that
 * /ktstr/plan describes, and powers off. PID 1 is one thread, and once it is up it sleeps in one place only, pump()
 * (loop.h). Sequences (boot, step, scheduler change) are straight code that calls pump() until a moment or a
 * condition. What has to happen meanwhile is done by functions that the modules registered with the loop: tickers,
 * reapers, watchers. Only pump() calls them, one after the other, and none of them may call pump() or wait; so there
 * are no locks.
 *
 * The hard thing: a sched_ext scheduler under test may stop scheduling. Whatever is an ordinary task then no
 * longer runs, and that would include the program that should report it. PID 1 and the scheduler loader
 * therefore run SCHED_FIFO, which no BPF scheduler can touch; workers and scheduler programs do not inherit
 * it. SCHED_FIFO in turn means that a busy loop here would silence the guest: there is none.
 *
 * A module calls only modules below it; tests/unit/test_native_rooms.py checks that there is no circle:
 *
 *	main  ->  op  ->  swap  ->  stats, scheduler, worker  ->  loop  ->  host  ->  machine  ->  port  ->  util
 *
 * Exit codes, in the Exit frame and as documented for people in ktstr_tui/guest/scenario.py.
 */
#ifndef KTSTR_AGENT_H
#define KTSTR_AGENT_H

#include "../frames/ktstr_frames.h" // the message types and the encoder: one source for guest and host

enum agent_exit {
	EXIT_DONE = 0, // the scenario ran to its end, or the host asked for an early one
	EXIT_EJECTED = 1, // as DONE, and a scheduler was ejected or died on the way
	EXIT_NOT_ATTACHED = 2, // a scheduler did not attach; the scenario ended there
	EXIT_BROKEN = 3, // no valid plan, or the machine could not be brought up
};

#define TEXT_CHUNK_BYTES 4096
#define TEXT_CHUNKS_MAX 16 // read from one descriptor before others get their turn
#define COMM_BYTES 16

// SCHED_FIFO priorities: PID 1 above the loader above real-time workers.
// The name of process 1, by which the host knows whether the scenario asked for the end of a scheduler.
#define NAME_RUNNING "ktstr-agent"
#define NAME_STOPPING "ktstr-stopping"

enum { PRIO_WORKER = 1, PRIO_LOADER = 5, PRIO_AGENT = 10 };

#endif
