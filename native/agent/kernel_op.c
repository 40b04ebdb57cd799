// SPDX-License-Identifier: MIT
#include "kernel_op.h"

#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "plan_ops.h"
#include "port.h"

#define MSGPACK_FALSE 0xc2
#define MSGPACK_TRUE 0xc3
#define MSGPACK_STR8 0xd9
#define MSGPACK_STR16 0xda
#define MSGPACK_FIXSTR 0xa0

struct kernel_op kernel_op;

void kernel_op_send(const uint8_t *body, uint32_t bytes)
{
	static uint32_t last_id;
	uint8_t payload[4 + PLAN_BODY_BYTES];

	kernel_op.pending = ++last_id;
	kernel_op.ok = false;
	kernel_op.reason[0] = '\0';
	memcpy(payload, &last_id, 4);
	memcpy(payload + 4, body, bytes);
	port_send(KTF_KERNEL_OP_REQUEST, payload, 4 + bytes);
}

// Pass over bytes that have to be there.
static bool skip(const uint8_t **at, const uint8_t *end, const char *expected, size_t bytes)
{
	if ((size_t)(end - *at) < bytes || memcmp(*at, expected, bytes))
		return false;
	*at += bytes;
	return true;
}

static bool take_reason(const uint8_t *at, const uint8_t *end)
{
	size_t length, head;

	if (at == end)
		return false;
	if ((*at & 0xe0) == MSGPACK_FIXSTR)
		head = 1, length = *at & 0x1f;
	else if (*at == MSGPACK_STR8 && end - at > 1)
		head = 2, length = at[1];
	else if (*at == MSGPACK_STR16 && end - at > 2)
		head = 3, length = (size_t)at[1] << 8 | at[2];
	else
		return false;
	if ((size_t)(end - at) < head + length)
		return false;
	snprintf(kernel_op.reason, sizeof(kernel_op.reason), "%.*s", (int)length, (const char *)at + head);
	return true;
}

void kernel_op_reply(const uint8_t *payload, uint32_t bytes)
{
	const uint8_t *at = payload + 4, *end = payload + bytes;
	uint32_t id;

	if (bytes < 4)
		return;
	memcpy(&id, payload, 4);
	if (!id || id != kernel_op.pending)
		return;
	kernel_op.pending = 0;
	if (!skip(&at, end, "\x83\xa7success", 9) || at == end ||
	    (*at != MSGPACK_TRUE && *at != MSGPACK_FALSE)) {
		snprintf(kernel_op.reason, sizeof(kernel_op.reason), "the reply is unreadable");
		return;
	}
	kernel_op.ok = *at++ == MSGPACK_TRUE;
	if (!skip(&at, end, "\xa6reason", 7) || !take_reason(at, end))
		snprintf(kernel_op.reason, sizeof(kernel_op.reason), "the reply's reason is unreadable");
}
