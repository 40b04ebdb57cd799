// SPDX-License-Identifier: MIT
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plan_text.h"

#define POLICY_EXT 7 // SCHED_EXT, newer than the C library's headers

const char *const worker_kinds[WORKER_KINDS] = {
	"spin", "yield", "bursty", "pipe", "futex", "fork", "mixed", "sleep",
};

static const struct {
	const char *name;
	int policy;
} worker_policies[] = {
	{ "normal", SCHED_OTHER }, { "batch", SCHED_BATCH }, { "idle", SCHED_IDLE },
	{ "fifo", SCHED_FIFO },	   { "rr", SCHED_RR },	     { "ext", POLICY_EXT },
};

uint32_t plan_group_processes(const struct plan_group *group)
{
	bool pairs = group->kind == WORKER_PIPE || group->kind == WORKER_FUTEX;

	return group->count * (pairs ? 2 : 1);
}

uint32_t plan_step_processes(const struct plan_step *step)
{
	uint32_t total = 0;

	for (uint32_t i = 0; i < step->nr_groups; i++)
		total += plan_group_processes(&step->groups[i]);
	return total;
}

static const char *take_sched(void *into, const char *key, char *value)
{
	struct plan_sched *sched = into;
	int n = 0;

	if (!strcmp(key, "name"))
		return plan_take_string(sched->name, sizeof(sched->name), value) ? NULL : "bad name";
	if (!strcmp(key, "kind")) {
		sched->is_object = !strcmp(value, "object");
		return sched->is_object || !strcmp(value, "program") ? NULL : "unknown kind";
	}
	if (strcmp(key, "arg"))
		return "unknown key";
	while (sched->argv[n])
		n++;
	if (n == PLAN_MAX_ARGS)
		return "too many arguments";
	if (!n && *value != '/')
		return "a path that is not absolute";
	sched->argv[n] = strdup(value);
	return sched->argv[n] ? NULL : "no memory";
}

static const char *take_step(void *into, const char *key, char *value)
{
	struct plan_step *step = into;
	long number;

	if (!strcmp(key, "name"))
		return plan_take_string(step->name, sizeof(step->name), value) ? NULL : "bad name";
	if (!strcmp(key, "duration_ms")) {
		if (!plan_take_number(value, 1, 86400L * 1000, &number))
			return "bad duration_ms";
		step->duration_ms = (uint64_t)number;
		return NULL;
	}
	if (!strcmp(key, "until")) {
		step->until_ejected = !strcmp(value, "ejected");
		return step->until_ejected || !strcmp(value, "duration") ? NULL : "unknown until";
	}
	if (!strcmp(key, "sched")) {
		if (!plan_take_number(value, 0, PLAN_MAX_SCHEDS - 1, &number))
			return "bad sched";
		step->sched = (int)number;
		return NULL;
	}
	if (!strcmp(key, "capture"))
		return plan_take_string(step->capture, sizeof(step->capture), value) ? NULL : "bad capture";
	if (!strcmp(key, "watch"))
		return plan_take_string(step->watch, sizeof(step->watch), value) ? NULL : "bad watch";
	if (strcmp(key, "fail"))
		return "unknown key";
	if (strcmp(value, "panic") && strcmp(value, "hang") && strcmp(value, "reboot"))
		return "unknown fail";
	return plan_take_string(step->fail, sizeof(step->fail), value) ? NULL : "bad fail";
}

static const char *take_worker_kind(struct plan_group *group, const char *value)
{
	for (int i = 0; i < WORKER_KINDS; i++) {
		if (!strcmp(value, worker_kinds[i])) {
			group->kind = (enum worker_kind)i;
			return NULL;
		}
	}
	return "unknown kind";
}

static const char *take_worker_policy(struct plan_group *group, const char *value)
{
	for (size_t i = 0; i < sizeof(worker_policies) / sizeof(*worker_policies); i++) {
		if (!strcmp(value, worker_policies[i].name)) {
			group->policy = worker_policies[i].policy;
			return NULL;
		}
	}
	return "unknown policy";
}

static const char *take_worker(void *into, const char *key, char *value)
{
	struct plan_group *group = into;
	long number;

	if (!strcmp(key, "kind"))
		return take_worker_kind(group, value);
	if (!strcmp(key, "policy"))
		return take_worker_policy(group, value);
	if (!strcmp(key, "count")) {
		if (!plan_take_number(value, 1, PLAN_MAX_PROCESSES, &number))
			return "bad count";
		group->count = (uint32_t)number;
		return NULL;
	}
	if (!strcmp(key, "nice")) {
		if (!plan_take_number(value, -20, 19, &number))
			return "bad nice";
		group->nice = (int)number;
		return NULL;
	}
	if (!strcmp(key, "cgroup")) {
		if (strchr(value, '/') || value[0] == '.')
			return "bad cgroup";
		return plan_take_string(group->cgroup, sizeof(group->cgroup), value) ? NULL : "bad cgroup";
	}
	if (strcmp(key, "cpus"))
		return "unknown key";
	group->pinned = true;
	return plan_take_cpus(&group->cpus, value) ? NULL : "bad cpus";
}

static const char *take_end(void *into, const char *key, char *value)
{
	long number;

	if (strcmp(key, "steps") || !plan_take_number(value, 1, PLAN_MAX_STEPS, &number))
		return "bad end";
	*(uint32_t *)into = (uint32_t)number;
	return NULL;
}

static const char *parse_sched(struct plan *plan, char *rest)
{
	struct plan_sched *sched = &plan->scheds[plan->nr_scheds];
	const char *wrong;

	if (plan->nr_steps)
		return "sched after step";
	if (plan->nr_scheds == PLAN_MAX_SCHEDS)
		return "too many schedulers";
	wrong = plan_take_pairs(rest, take_sched, sched);
	if (!wrong && (!sched->name[0] || !sched->argv[0]))
		wrong = "sched lacks a key";
	plan->nr_scheds++;
	return wrong;
}

static const char *parse_step(struct plan *plan, char *rest)
{
	struct plan_step *step = &plan->steps[plan->nr_steps];
	const char *wrong;

	if (plan->nr_steps == PLAN_MAX_STEPS)
		return "too many steps";
	step->sched = -1;
	wrong = plan_take_pairs(rest, take_step, step);
	if (!wrong && (!step->name[0] || !step->duration_ms))
		wrong = "step lacks a key";
	if (!wrong && step->sched >= (int)plan->nr_scheds)
		wrong = "no such sched";
	plan->nr_steps++;
	return wrong;
}

static const char *parse_worker(struct plan *plan, char *rest)
{
	struct plan_step *step = plan->nr_steps ? &plan->steps[plan->nr_steps - 1] : NULL;
	const char *wrong;

	if (!step)
		return "worker before step";
	if (step->nr_groups == PLAN_MAX_GROUPS)
		return "too many worker lines";
	wrong = plan_take_pairs(rest, take_worker, &step->groups[step->nr_groups]);
	if (!wrong && !step->groups[step->nr_groups].count)
		wrong = "worker lacks a key";
	step->nr_groups++;
	if (!wrong && plan_step_processes(step) > PLAN_MAX_PROCESSES)
		wrong = "too many processes in a step";
	return wrong;
}

static const char *parse_cgroup(struct plan *plan, char *rest)
{
	struct plan_op *op = &plan->cgroups[plan->nr_cgroups];
	const char *wrong;

	if (plan->nr_steps)
		return "cgroup after step";
	if (plan->nr_cgroups == PLAN_MAX_CGROUPS)
		return "too many cgroups";
	wrong = plan_take_op(rest, op);
	plan->nr_cgroups++;
	return wrong || op->kind == OP_ADD_CGROUP ? wrong : "a cgroup that is not added";
}

static const char *parse_op(struct plan *plan, char *rest)
{
	struct plan_step *step = plan->nr_steps ? &plan->steps[plan->nr_steps - 1] : NULL;
	struct plan_op *op = &plan->ops[plan->nr_ops];
	const char *wrong;

	if (!step)
		return "op before step";
	if (plan->nr_ops == PLAN_MAX_OPS)
		return "too many op lines";
	wrong = plan_take_op(rest, op);
	if (!wrong && op->sched >= (int)plan->nr_scheds)
		wrong = "no such sched";
	if (!wrong && step->nr_ops && op->at_ms < step->ops[step->nr_ops - 1].at_ms)
		wrong = "op before the one above it";
	if (!step->nr_ops)
		step->ops = op;
	step->nr_ops++;
	plan->nr_ops++;
	return wrong;
}

static const char *parse_line(struct plan *plan, char *line, uint32_t *ended)
{
	char *rest = line, *word = strsep(&rest, " ");

	if (*ended)
		return "text after end";
	if (!rest)
		return "a word without keys";
	if (!strcmp(word, "sched"))
		return parse_sched(plan, rest);
	if (!strcmp(word, "step"))
		return parse_step(plan, rest);
	if (!strcmp(word, "worker"))
		return parse_worker(plan, rest);
	if (!strcmp(word, "op"))
		return parse_op(plan, rest);
	if (!strcmp(word, "cgroup"))
		return parse_cgroup(plan, rest);
	if (strcmp(word, "end"))
		return "unknown word";
	return plan_take_pairs(rest, take_end, ended);
}

int plan_parse(char *text, struct plan *plan, char *problem, size_t bytes)
{
	uint32_t ended = 0;
	int number = 1;
	char *line = strsep(&text, "\n");

	memset(plan, 0, sizeof(*plan));
	if (strcmp(line, "ktstr-plan 2")) {
		snprintf(problem, bytes, "plan: line 1: not a plan of version 2");
		return -1;
	}
	while ((line = strsep(&text, "\n")) && (text || *line)) {
		const char *wrong = parse_line(plan, line, &ended);

		number++;
		if (wrong) {
			snprintf(problem, bytes, "plan: line %d: %s", number, wrong);
			return -1;
		}
	}
	if (!ended || ended != plan->nr_steps) {
		snprintf(problem, bytes, "plan: cut after line %d", number);
		return -1;
	}
	return 0;
}

int plan_read(const char *path, struct plan *plan, char *problem, size_t bytes)
{
	static char text[PLAN_MAX_BYTES + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;

	if (fd < 0) {
		snprintf(problem, bytes, "plan: %s: %s", path, strerror(errno));
		return -1;
	}
	while (used < PLAN_MAX_BYTES && (n = read(fd, text + used, PLAN_MAX_BYTES - used)) > 0)
		used += (size_t)n;
	close(fd);
	if (n < 0 || used == PLAN_MAX_BYTES || memchr(text, '\0', used)) {
		snprintf(problem, bytes, "plan: %s: unreadable, larger than %d bytes, or not text", path,
			 PLAN_MAX_BYTES);
		return -1;
	}
	text[used] = '\0';
	return plan_parse(text, plan, problem, bytes);
}
