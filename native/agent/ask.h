/* SPDX-License-Identifier: MIT */
/* Ask the host for something, and wait for its answer while the loop goes on. 0, or the number of an error. */
#ifndef KTSTR_AGENT_ASK_H
#define KTSTR_AGENT_ASK_H

#include <stddef.h>

#include "host.h"
#include "plan_ops.h"

int ask_request(enum host_request_kind kind, const char *tag, char *detail,
		size_t bytes); // a capture, or a watch
int ask_kernel_op(const struct plan_op *op, char *detail, size_t bytes);

#endif
