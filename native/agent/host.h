/* SPDX-License-Identifier: MIT */
/* Frames to the host, and what the host asked for. */
#ifndef KTSTR_AGENT_HOST_H
#define KTSTR_AGENT_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plan.h"

enum lifecycle_phase {
	PHASE_INIT_STARTED = 1,
	PHASE_PAYLOAD_STARTING = 2,
	PHASE_SCHEDULER_DIED = 3,
	PHASE_SCHEDULER_NOT_ATTACHED = 4,
};

#define HOST_REASON_BYTES 240

enum host_request_kind { HOST_CAPTURE = 1, HOST_WATCH = 2 }; // the wire's kinds of a SnapshotRequest

enum host_sched_op {
	SCHED_ATTACH = 1,
	SCHED_DETACH,
	SCHED_REPLACE,
	SCHED_CANCEL
}; // the wire's, of a SchedCommand

struct host_sched_command {
	uint32_t id;
	uint32_t op; // an enum host_sched_op
	char target[PLAN_NAME_BYTES]; // a scheduler of the plan; empty for that of the step
};

struct host_requests {
	bool accessor_ready;
	bool shutdown;
	uint32_t capture_pending; // id of the SnapshotRequest in flight, 0 when none
	bool capture_queued; // the host said that it has to wait its turn
	const char *capture_what; // what was asked for last
	bool capture_done; // and whether it was done, once it is pending no more
	char capture_reason[HOST_REASON_BYTES];
};
extern struct host_requests host;

void host_receive(void); // read the bulk port, and note in `host` what was asked for
bool host_take_sched_command(struct host_sched_command *command); // the next one that waits
void host_kernel_addresses(void); // send where the kernel is, when the kernel shows it
void host_text(uint32_t msg_type, const char *text, size_t bytes); // split into chunks
void host_printf(uint32_t msg_type, const char *format, ...) __attribute__((format(printf, 2, 3)));
void host_lifecycle(enum lifecycle_phase phase, const char *reason); // reason may be NULL
void host_i32(uint32_t msg_type, int32_t value);
void host_request(enum host_request_kind kind, const char *tag);

#endif
