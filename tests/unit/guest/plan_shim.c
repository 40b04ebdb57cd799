// SPDX-License-Identifier: MIT
// Parses a plan with the guest program's own reader and writes what it understood as one line per cgroup, step, worker and
// operation.
#include <stdio.h>
#include <string.h>

#include "plan.h"

static size_t put_cpus(char *out, size_t bytes, bool there, const cpu_set_t *cpus)
{
	size_t used = 0;

	out[0] = '\0';
	for (int cpu = 0; there && cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, cpus))
			used += (size_t)snprintf(out + used, bytes - used, "%s%d", used ? "," : "", cpu);
	}
	return used;
}

static size_t put_op(char *out, size_t bytes, const struct plan *plan, const char *word,
		     const struct plan_op *op)
{
	char cpus[4096];
	size_t used;

	put_cpus(cpus, sizeof(cpus), op->has_cpus, &op->cpus);
	used = (size_t)snprintf(out, bytes, "%s|%s|%llu|%s|%s|%s|%u|%u|%u|%s|%d|%s|", word,
				plan_op_name(op->kind), (unsigned long long)op->at_ms, op->cgroup,
				op->workers, cpus, op->weight, op->max_us, op->period_us,
				op->sched < 0 ? "" : plan->scheds[op->sched].argv[1], op->cpu, op->tag);
	for (uint32_t i = 0; i < op->body_bytes; i++)
		used += (size_t)snprintf(out + used, bytes - used, "%02x", op->body[i]);
	return used + (size_t)snprintf(out + used, bytes - used, "\n");
}

int means(const char *workers, const char *comm)
{
	return plan_op_means(workers, comm);
}

int describe(char *text, char *out, size_t bytes)
{
	static struct plan plan;
	size_t used = 0;

	if (plan_parse(text, &plan, out, bytes))
		return -1;
	for (uint32_t i = 0; i < plan.nr_cgroups; i++)
		used += put_op(out + used, bytes - used, &plan, "cgroup", &plan.cgroups[i]);
	for (uint32_t i = 0; i < plan.nr_steps; i++) {
		const struct plan_step *step = &plan.steps[i];

		used += (size_t)snprintf(out + used, bytes - used, "step|%s|%llu|%d|%s|%s|%s|%s\n",
					 step->name, (unsigned long long)step->duration_ms,
					 step->until_ejected,
					 step->sched < 0 ? "none" : plan.scheds[step->sched].argv[1],
					 step->capture, step->watch, step->fail);
		for (uint32_t j = 0; j < step->nr_groups; j++) {
			const struct plan_group *group = &step->groups[j];
			char cpus[4096];

			put_cpus(cpus, sizeof(cpus), group->pinned, &group->cpus);
			used += (size_t)snprintf(out + used, bytes - used, "worker|%s|%u|%u|%d|%d|%s|%s\n",
						 worker_kinds[group->kind], group->count,
						 plan_group_processes(group), group->policy, group->nice,
						 cpus, group->cgroup);
		}
		for (uint32_t j = 0; j < step->nr_ops; j++)
			used += put_op(out + used, bytes - used, &plan, "op", &step->ops[j]);
	}
	return 0;
}
