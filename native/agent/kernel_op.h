/* SPDX-License-Identifier: MIT */
/*
 * Operations on the kernel's memory that the host does for the guest.
 *
 * A request is an id and a MessagePack map that the host itself has put into the plan. Of the reply, a map as well, only
 * the two first entries are of interest, and the host always writes them in this order: success, reason.
 */
#ifndef KTSTR_AGENT_KERNEL_OP_H
#define KTSTR_AGENT_KERNEL_OP_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL_OP_REASON_BYTES 260

struct kernel_op {
	uint32_t pending; // id of the request in flight, 0 when none
	bool ok;
	char reason[KERNEL_OP_REASON_BYTES]; // why it was not done
};
extern struct kernel_op kernel_op;

void kernel_op_send(const uint8_t *body, uint32_t bytes);
void kernel_op_reply(const uint8_t *payload, uint32_t bytes); // from the host

#endif
