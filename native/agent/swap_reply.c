// SPDX-License-Identifier: MIT
#include "swap_reply.h"

#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "port.h"
#include "scheduler.h"
#include "util.h"

#define SCX_OPS_PATH "/sys/kernel/sched_ext/root/ops"
#define OPS_BYTES 128

struct swap_own swap_own;
static struct reply {
	uint32_t id, status, refuser, loaded;
	uint64_t enable_seq;
	char ops[OPS_BYTES], reason[SWAP_REASON_BYTES];
	char log[PROGRAM_LOG_BYTES];
} reply;

char *const swap_reply_log = reply.log;

void swap_reply(uint32_t id, enum swap_status status, enum refuser who, const char *reason, size_t log)
{
	const struct plan_sched *loaded = sched_loaded();

	_Static_assert(offsetof(struct reply, log) == 920, "the wire's size of a SchedReply");
	if (id == SWAP_OWN_ID) {
		swap_own.status = status;
		snprintf(swap_own.reason, sizeof(swap_own.reason), "%s", reason);
		return;
	}
	reply.id = id;
	reply.status = status;
	reply.refuser = who;
	reply.loaded = loaded != NULL;
	reply.enable_seq = loaded ? sched_enable_seq() : 0;
	memset(reply.ops, 0, sizeof(reply.ops));
	memset(reply.reason, 0, sizeof(reply.reason));
	if (loaded && read_small_file(SCX_OPS_PATH, reply.ops, sizeof(reply.ops)) < 0)
		reply.ops[0] = '\0';
	snprintf(reply.reason, sizeof(reply.reason), "%s", reason);
	port_send(KTF_SCHED_REPLY, &reply, (uint32_t)(offsetof(struct reply, log) + log));
}
