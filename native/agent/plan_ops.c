// SPDX-License-Identifier: MIT
#include "plan_ops.h"

#include <stdlib.h>
#include <string.h>

#include "plan_text.h"

#define MAX_AT_MS (86400L * 1000)

enum key {
	AT_MS = 1 << 0,
	CGROUP = 1 << 1,
	WORKERS = 1 << 2,
	CPUS = 1 << 3,
	WEIGHT = 1 << 4,
	MAX_US = 1 << 5,
	PERIOD_US = 1 << 6,
	SCHED = 1 << 7,
	CPU = 1 << 8,
	TAG = 1 << 9,
	BODY = 1 << 10,
	KIND = 1 << 11,
};

static const struct {
	const char *name;
	unsigned int needs, takes; // keys besides kind and at_ms
} kinds[OP_KINDS] = {
	[OP_ADD_CGROUP] = { "add-cgroup", CGROUP, CPUS | WEIGHT | MAX_US | PERIOD_US },
	[OP_REMOVE_CGROUP] = { "remove-cgroup", CGROUP, 0 },
	[OP_SET_CPUSET] = { "set-cpuset", CGROUP, CPUS },
	[OP_SET_WEIGHT] = { "set-weight", CGROUP | WEIGHT, 0 },
	[OP_SET_CPU_MAX] = { "set-cpu-max", CGROUP | PERIOD_US, MAX_US },
	[OP_FREEZE_CGROUP] = { "freeze-cgroup", CGROUP, 0 },
	[OP_THAW_CGROUP] = { "thaw-cgroup", CGROUP, 0 },
	[OP_MOVE_WORKERS] = { "move-workers", CGROUP, WORKERS },
	[OP_SET_AFFINITY] = { "set-affinity", CPUS, WORKERS },
	[OP_ATTACH_SCHEDULER] = { "attach-scheduler", 0, SCHED },
	[OP_DETACH_SCHEDULER] = { "detach-scheduler", 0, 0 },
	[OP_REPLACE_SCHEDULER] = { "replace-scheduler", SCHED, 0 },
	[OP_RESTART_SCHEDULER] = { "restart-scheduler", 0, 0 },
	[OP_CAPTURE] = { "capture", TAG, 0 },
	[OP_WATCH] = { "watch", TAG, 0 },
	[OP_WRITE_KERNEL] = { "write-kernel", BODY, 0 },
	[OP_OFFLINE_CPU] = { "offline-cpu", CPU, 0 },
	[OP_ONLINE_CPU] = { "online-cpu", CPU, 0 },
};

// What a line is read into, and which keys it had.
struct reading {
	struct plan_op *op;
	unsigned int keys;
};

const char *plan_op_name(enum plan_op_kind kind)
{
	return kind > 0 && kind < OP_KINDS ? kinds[kind].name : "?";
}

bool plan_op_means(const char *workers, const char *comm)
{
	size_t length = strlen(workers);

	return !length || !strcmp(workers, comm) || (!strncmp(workers, comm, length) && comm[length] == '-');
}

static const char *take_kind(struct plan_op *op, const char *value)
{
	for (int kind = 1; kind < OP_KINDS; kind++) {
		if (!strcmp(value, kinds[kind].name)) {
			op->kind = (enum plan_op_kind)kind;
			return NULL;
		}
	}
	return "unknown kind";
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *take_body(struct plan_op *op, const char *value)
{
	op->body_bytes = 0;
	for (; *value; value += 2) {
		int high = digit(value[0]), low = high < 0 ? -1 : digit(value[1]);

		if (low < 0 || op->body_bytes == PLAN_BODY_BYTES)
			return "bad body";
		op->body[op->body_bytes++] = (uint8_t)(high * 16 + low);
	}
	return op->body_bytes ? NULL : "bad body";
}

static bool is_cgroup(const char *value)
{
	return !strcmp(value, "/") || (!strchr(value, '/') && value[0] != '.');
}

static const char *take_text(struct plan_op *op, const char *key, const char *value, unsigned int *bit)
{
	*bit = CGROUP;
	if (!strcmp(key, "cgroup"))
		return is_cgroup(value) && plan_take_string(op->cgroup, sizeof(op->cgroup), value)
			       ? NULL
			       : "bad cgroup";
	*bit = WORKERS;
	if (!strcmp(key, "workers"))
		return plan_take_string(op->workers, sizeof(op->workers), value) ? NULL : "bad workers";
	*bit = TAG;
	if (!strcmp(key, "tag"))
		return plan_take_string(op->tag, sizeof(op->tag), value) ? NULL : "bad tag";
	*bit = BODY;
	if (!strcmp(key, "body"))
		return take_body(op, value);
	*bit = CPUS;
	if (strcmp(key, "cpus"))
		return "unknown key";
	op->has_cpus = true;
	return plan_take_cpus(&op->cpus, value) ? NULL : "bad cpus";
}

static const struct {
	const char *name;
	enum key bit;
	long min, max;
} numbers[] = {
	{ "at_ms", AT_MS, 0, MAX_AT_MS },
	{ "weight", WEIGHT, 1, 10000 },
	{ "max_us", MAX_US, 1000, 1000000000 },
	{ "period_us", PERIOD_US, 1000, 1000000 },
	{ "sched", SCHED, 0, 255 },
	{ "cpu", CPU, 1, CPU_SETSIZE - 1 }, // CPU 0 stays
};

static void put_number(struct plan_op *op, enum key bit, long number)
{
	switch (bit) {
	case AT_MS:
		op->at_ms = (uint64_t)number;
		break;
	case WEIGHT:
		op->weight = (uint32_t)number;
		break;
	case MAX_US:
		op->max_us = (uint32_t)number;
		break;
	case PERIOD_US:
		op->period_us = (uint32_t)number;
		break;
	case SCHED:
		op->sched = (int)number;
		break;
	default:
		op->cpu = (int)number;
	}
}

static const char *take_value(struct plan_op *op, const char *key, const char *value, unsigned int *bit)
{
	long number;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		if (strcmp(key, numbers[i].name))
			continue;
		*bit = numbers[i].bit;
		if (!plan_take_number(value, numbers[i].min, numbers[i].max, &number))
			return "number out of range";
		put_number(op, numbers[i].bit, number);
		return NULL;
	}
	return take_text(op, key, value, bit);
}

static const char *take_pair(void *into, const char *key, char *value)
{
	struct reading *reading = into;
	unsigned int bit = KIND;
	const char *wrong = !strcmp(key, "kind") ? take_kind(reading->op, value)
						 : take_value(reading->op, key, value, &bit);

	if (!wrong && reading->keys & bit)
		wrong = "a key twice";
	reading->keys |= bit;
	return wrong;
}

const char *plan_take_op(char *rest, struct plan_op *op)
{
	struct reading reading = { .op = op };
	const char *wrong;
	unsigned int needs, takes;

	op->sched = -1;
	wrong = plan_take_pairs(rest, take_pair, &reading);
	if (wrong)
		return wrong;
	if (!op->kind)
		return "op lacks its kind";
	needs = kinds[op->kind].needs | KIND | AT_MS;
	takes = kinds[op->kind].takes;
	if ((reading.keys & needs) != needs)
		return "op lacks a key";
	if (reading.keys & ~(needs | takes))
		return "op has a key of another kind";
	return strcmp(op->cgroup, "/") || op->kind == OP_MOVE_WORKERS ? NULL : "bad cgroup";
}
