// SPDX-License-Identifier: MIT
#include "ask.h"

#include <errno.h>
#include <stdio.h>

#include "agent.h"
#include "kernel_op.h"
#include "loop.h"
#include "util.h"

#define ANSWER_WITHIN_NS (30 * NSEC_PER_SEC)

static int no_reply(char *detail, size_t bytes)
{
	snprintf(detail, bytes, "no reply of the host");
	return ETIMEDOUT;
}

int ask_request(enum host_request_kind kind, const char *tag, char *detail, size_t bytes)
{
	uint64_t deadline_ns = now_ns() + ANSWER_WITHIN_NS;

	host_request(kind, tag);
	while (host.capture_pending && now_ns() < deadline_ns && !host.shutdown) {
		pump(deadline_ns);
		if (host.capture_queued)
			deadline_ns = now_ns() + ANSWER_WITHIN_NS; // its turn may be long in coming
		host.capture_queued = false;
	}
	if (!host.capture_pending) {
		snprintf(detail, bytes, "%s", host.capture_reason);
		return host.capture_done ? 0 : EIO;
	}
	host_printf(KTF_STDOUT, "ktstr-agent: %s %u: no reply\n", host.capture_what, host.capture_pending);
	host.capture_pending = 0;
	return no_reply(detail, bytes);
}

int ask_kernel_op(const struct plan_op *op, char *detail, size_t bytes)
{
	uint64_t deadline_ns = now_ns() + ANSWER_WITHIN_NS;

	kernel_op_send(op->body, op->body_bytes);
	while (kernel_op.pending && now_ns() < deadline_ns && !host.shutdown)
		pump(deadline_ns);
	if (kernel_op.pending) {
		kernel_op.pending = 0;
		return no_reply(detail, bytes);
	}
	snprintf(detail, bytes, "%s", kernel_op.reason);
	return kernel_op.ok ? 0 : EPERM;
}
