// SPDX-License-Identifier: MIT
// What is said to the host, and what the host asks for.
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "kernel_op.h"
#include "machine.h"
#include "plan.h"
#include "port.h"
#include "upload.h"

#define SNAPSHOT_OK 1
#define SNAPSHOT_QUEUED 3 // it waits its turn: the real answer follows

#define COMMANDS_MAX 4 // the host waits for an answer before it sends the next; a cancellation may follow

struct host_requests host;
static struct host_sched_command commands[COMMANDS_MAX];
static uint32_t nr_commands;

void host_text(uint32_t msg_type, const char *text, size_t bytes)
{
	while (bytes) {
		size_t chunk = bytes < TEXT_CHUNK_BYTES ? bytes : TEXT_CHUNK_BYTES;

		port_send(msg_type, text, (uint32_t)chunk);
		text += chunk;
		bytes -= chunk;
	}
}

void host_printf(uint32_t msg_type, const char *format, ...)
{
	char text[1024];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n > 0)
		host_text(msg_type, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void host_lifecycle(enum lifecycle_phase phase, const char *reason)
{
	char payload[1 + 511];
	size_t length = reason ? strnlen(reason, sizeof(payload) - 1) : 0;

	payload[0] = (char)phase;
	if (length)
		memcpy(payload + 1, reason, length);
	port_send(KTF_LIFECYCLE, payload, (uint32_t)(1 + length));
}

void host_i32(uint32_t msg_type, int32_t value)
{
	port_send(msg_type, &value, sizeof(value));
}

void host_kernel_addresses(void)
{
	// Each with one added where 0 means absent; the place of page_offset_base is left out, and that of phys_base.
	struct {
		uint64_t phys_base, page_offset_base, text;
	} payload = { 0 };

	_Static_assert(sizeof(payload) == 24, "the wire's size of KernAddrs");
	payload.text = machine_kernel_text();
	if (!payload.text)
		return;
	payload.text++;
	port_send(KTF_KERN_ADDRS, &payload, sizeof(payload));
}

void host_request(enum host_request_kind kind, const char *tag)
{
	static uint32_t last_id;
	struct {
		uint32_t id, kind;
		char tag[PLAN_TAG_BYTES];
	} request = { .id = ++last_id, .kind = kind };

	_Static_assert(sizeof(request) == 72, "the wire's size of a SnapshotRequest");
	memcpy(request.tag, tag, strnlen(tag, sizeof(request.tag)));
	host.capture_pending = request.id;
	host.capture_what = kind == HOST_WATCH ? "watch" : "capture";
	host.capture_queued = false;
	port_send(KTF_SNAPSHOT_REQUEST, &request, sizeof(request));
}

static void snapshot_reply(const uint8_t *payload, uint32_t bytes)
{
	uint32_t id, status;

	if (bytes < 72) // 64 bytes of reason, or 512
		return;
	memcpy(&id, payload, 4);
	memcpy(&status, payload + 4, 4);
	if (status == SNAPSHOT_QUEUED) {
		host.capture_queued = id == host.capture_pending;
		return;
	}
	if (id == host.capture_pending) {
		host.capture_pending = 0;
		host.capture_done = status == SNAPSHOT_OK;
		snprintf(host.capture_reason, sizeof(host.capture_reason), "%.*s", (int)(bytes - 8),
			 (const char *)payload + 8);
	}
	host_printf(KTF_STDOUT, "ktstr-agent: %s %u: %s%s%.*s\n",
		    host.capture_what ? host.capture_what : "request", id,
		    status == SNAPSHOT_OK ? "done" : "failed", payload[8] ? ": " : "", (int)(bytes - 8),
		    (const char *)payload + 8);
}

static void sched_command(const uint8_t *payload, uint32_t bytes)
{
	struct host_sched_command command;

	if (bytes != sizeof(command)) {
		host_printf(KTF_STDERR, "ktstr-agent: a SchedCommand of %u bytes is ignored\n", bytes);
		return;
	}
	memcpy(&command, payload, sizeof(command));
	command.target[sizeof(command.target) - 1] = '\0';
	if (command.id && command.op >= SCHED_ATTACH && command.op <= SCHED_CANCEL &&
	    nr_commands < COMMANDS_MAX)
		commands[nr_commands++] = command;
	else
		host_printf(KTF_STDERR, "ktstr-agent: SchedCommand %u, op %u, is ignored\n", command.id,
			    command.op);
}

bool host_take_sched_command(struct host_sched_command *command)
{
	if (!nr_commands)
		return false;
	*command = commands[0];
	memmove(commands, commands + 1, --nr_commands * sizeof(*commands));
	return true;
}

void host_receive(void)
{
	uint64_t damaged = port_damaged();
	uint32_t msg_type, bytes;
	const uint8_t *payload;

	while (port_receive(&msg_type, &payload, &bytes)) {
		if (port_damaged() != damaged) {
			damaged = port_damaged();
			upload_damaged();
		}
		if (msg_type == KTF_ACCESSOR_READY)
			host.accessor_ready = true;
		else if (msg_type == KTF_SHUTDOWN)
			host.shutdown = true;
		else if (msg_type == KTF_SNAPSHOT_REPLY)
			snapshot_reply(payload, bytes);
		else if (msg_type == KTF_SCHED_UPLOAD)
			upload_begin(payload, bytes);
		else if (msg_type == KTF_SCHED_CHUNK)
			upload_chunk(payload, bytes);
		else if (msg_type == KTF_SCHED_COMMAND)
			sched_command(payload, bytes);
		else if (msg_type == KTF_KERNEL_OP_REPLY)
			kernel_op_reply(payload, bytes);
	}
	if (port_damaged() != damaged)
		upload_damaged();
}
