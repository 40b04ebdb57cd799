/* SPDX-License-Identifier: MIT */
/*
 * The guest program: PID 1 of the test machine, one static binary.
 *
 * It brings the machine up, tells the host about itself over one virtio-serial port, runs the scenario that
 * /ktstr/plan describes, and powers off. Everything in PID 1 is one thread that sleeps in pump(); there are no
 * callbacks and no locks. Sequences (boot, step, scheduler change) are written as straight code that calls
 * pump() until a moment or a condition.
 *
 * The hard thing: a sched_ext scheduler under test may stop scheduling. Whatever is an ordinary task then no
 * longer runs, and that would include the program that should report it. PID 1 and the scheduler loader
 * therefore run SCHED_FIFO, which no BPF scheduler can touch; workers and scheduler programs do not inherit
 * it. SCHED_FIFO in turn means that a busy loop here would silence the guest: there is none.
 *
 * Exit codes, in the Exit frame and as documented for people in ktstr_tui/guest/scenario.py.
 */
#ifndef KTSTR_AGENT_H
#define KTSTR_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../frames/ktstr_frames.h" // the message types and the encoder: one source for guest and host

enum agent_exit {
	EXIT_DONE = 0, // the scenario ran to its end, or the host asked for an early one
	EXIT_EJECTED = 1, // as DONE, and a scheduler was ejected or died on the way
	EXIT_NOT_ATTACHED = 2, // a scheduler did not attach; the scenario ended there
	EXIT_BROKEN = 3, // no valid plan, or the machine could not be brought up
};

enum lifecycle_phase {
	PHASE_INIT_STARTED = 1,
	PHASE_PAYLOAD_STARTING = 2,
	PHASE_SCHEDULER_DIED = 3,
	PHASE_SCHEDULER_NOT_ATTACHED = 4,
};

#define NSEC_PER_SEC 1000000000ULL
#define NSEC_PER_MSEC 1000000ULL
#define TEXT_CHUNK_BYTES 4096
#define TEXT_CHUNKS_MAX 16 // read from one descriptor before others get their turn
#define COMM_BYTES 16

// SCHED_FIFO priorities: PID 1 above the loader above real-time workers.
enum { PRIO_WORKER = 1, PRIO_LOADER = 5, PRIO_AGENT = 10 };

uint64_t now_ns(void); // CLOCK_MONOTONIC

// host.c: what the host asked for, and what is said to it in frames.
struct host_requests {
	bool accessor_ready;
	bool shutdown;
	uint32_t capture_pending; // id of the SnapshotRequest in flight, 0 when none
	bool capture_queued; // the host said that it has to wait its turn
	const char *capture_what; // what was asked for last
};
enum host_request_kind { HOST_CAPTURE = 1, HOST_WATCH = 2 }; // the wire's kinds of a SnapshotRequest
extern struct host_requests host;
void host_receive(void);
void host_kernel_addresses(void); // where the kernel is, as far as it tells
void host_text(uint32_t msg_type, const char *text, size_t bytes); // split into chunks
void host_printf(uint32_t msg_type, const char *format, ...) __attribute__((format(printf, 2, 3)));
void host_lifecycle(enum lifecycle_phase phase, const char *reason); // reason may be NULL
void host_i32(uint32_t msg_type, int32_t value);
void host_request(enum host_request_kind kind, const char *tag);

// machine.c: the machine itself.
int machine_mount(char *problem, size_t bytes);
void machine_set_fifo(int priority);
void machine_send_dmesg(void); // the tail of the kernel log, as one Dmesg frame
uint64_t machine_kernel_text(void); // run-time address of _text; 0 when the kernel does not tell
void machine_power_off(void) __attribute__((noreturn));
void machine_fail(const char *how); // test aids: "panic", "hang", "reboot"
int read_small_file(const char *path, char *text, size_t bytes); // trimmed; length or -1
int write_small_file(const char *path, const char *text);

// loop.c: the only place where PID 1 sleeps.
int loop_init(void);
void pump(uint64_t until_ns); // returns early when something happened
// Call ready when fd can be read, at most every WATCH_REST_NS: it takes a bounded amount, so that a process that
// prints without end cannot keep PID 1 (and with it a CPU) busy. ready unwatches fd at its end.
void pump_watch(int fd, void (*ready)(int fd));
void pump_unwatch(int fd);

#endif
