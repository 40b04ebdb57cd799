// SPDX-License-Identifier: MIT
// Parses a plan with the guest program's own reader and writes what it understood as one line per step and worker.
#include <stdio.h>
#include <string.h>

#include "plan.h"

static size_t put_cpus(char *out, size_t bytes, const struct plan_group *group)
{
	size_t used = 0;

	out[0] = '\0';
	for (int cpu = 0; group->pinned && cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &group->cpus))
			used += (size_t)snprintf(out + used, bytes - used, "%s%d", used ? "," : "", cpu);
	}
	return used;
}

int describe(char *text, char *out, size_t bytes)
{
	static struct plan plan;
	size_t used = 0;

	if (plan_parse(text, &plan, out, bytes))
		return -1;
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

			put_cpus(cpus, sizeof(cpus), group);
			used += (size_t)snprintf(out + used, bytes - used, "worker|%s|%u|%u|%d|%d|%s\n",
						 worker_kinds[group->kind], group->count,
						 plan_group_processes(group), group->policy, group->nice,
						 cpus);
		}
	}
	return 0;
}
