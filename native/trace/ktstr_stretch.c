// SPDX-License-Identifier: MIT
//
// The end of a stretch: its sums, and what is kept for the next.
#include "ktstr_known.h"

#include <stdlib.h>
#include <string.h>

static int by_length(const void *a, const void *b)
{
	const struct wait *one = a, *other = b;

	return (one->ns > other->ns) - (one->ns < other->ns);
}

static int by_share(const void *a, const void *b)
{
	const struct task *one = *(struct task *const *)a, *other = *(struct task *const *)b;

	if (one->ran_ns != other->ran_ns)
		return one->ran_ns < other->ran_ns ? 1 : -1;
	if (one->waiting_ns != other->waiting_ns)
		return one->waiting_ns < other->waiting_ns ? 1 : -1;
	return (one->pid > other->pid) - (one->pid < other->pid);
}

static struct ktc_waits waits_of(const uint64_t *ordered, size_t count)
{
	size_t last = count - 1, p99;

	if (!count)
		return (struct ktc_waits){ 0 };
	p99 = (size_t)(0.99 * (double)last + 0.5);
	return (struct ktc_waits){ .count = count,
				   .p50_ns = ordered[last / 2],
				   .p99_ns = ordered[p99 < last ? p99 : last],
				   .max_ns = ordered[last] };
}

// Put the waits in order of length, and those of each task together in `ordered`; returns what they are all together.
static struct ktc_waits order_waits(struct ktc_counts *c)
{
	struct ktc_waits all;
	size_t first = 0;

	qsort(c->waits, c->wait_count, sizeof(*c->waits), by_length);
	for (size_t k = 0; k < c->wait_count; k++) {
		c->ordered[k] = c->waits[k].ns;
		if (c->waits[k].task >= 0)
			c->tasks[c->waits[k].task].wait_count++;
	}
	all = waits_of(c->ordered, c->wait_count);
	for (size_t k = 0; k < c->task_count; k++) {
		c->tasks[k].first_wait = first;
		first += c->tasks[k].wait_count;
		c->tasks[k].wait_count = 0;
	}
	for (size_t k = 0; k < c->wait_count; k++) {
		if (c->waits[k].task >= 0) {
			struct task *task = &c->tasks[c->waits[k].task];

			c->ordered[task->first_wait + task->wait_count++] = c->waits[k].ns;
		}
	}
	return all;
}

static struct ktc_rate rate_of(const struct ktc_counts *c, const struct task *task)
{
	return (struct ktc_rate){
		.pid = task->pid,
		.prio = task->prio,
		.ran_ns = task->ran_ns,
		.switches = task->switches,
		.preempted = task->preempted,
		.migrations = task->migrations,
		.wakeups = task->wakeups,
		.waiting_ns = task->waiting_ns,
		.waits = waits_of(c->ordered + task->first_wait, task->wait_count),
		.cpu = task->cpu,
		.doing = ktc_runs(c, task->pid)		? KTC_RUNS
			 : task->waits || !task->sleeps ? KTC_WAITS
							: KTC_SLEEPS,
		.has_prio = task->has_prio,
		.is_waiting = task->waits,
	};
}

static size_t list_tasks(struct ktc_counts *c, uint64_t now_ns, struct ktc_rate *rates, size_t room,
			 size_t *all)
{
	*all = 0;
	for (size_t k = 0; k < c->task_count; k++) {
		struct task *task = &c->tasks[k];

		task->waiting_ns = task->waits ? after(now_ns, task->since_ns) : 0;
		if (task->touched || task->waits)
			c->listed[(*all)++] = task;
	}
	qsort(c->listed, *all, sizeof(*c->listed), by_share);
	room = room < *all ? room : *all;
	for (size_t k = 0; k < room; k++)
		rates[k] = rate_of(c, c->listed[k]);
	return room;
}

// Drop what belongs to the stretch that is over, and the tasks that are gone.
static void begin(struct ktc_counts *c, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t k = 0; k < c->task_count; k++) {
		struct task task = c->tasks[k];

		if (task.exits && !task.waits && !ktc_runs(c, task.pid))
			continue;
		task.ran_ns = task.switches = task.preempted = task.migrations = task.wakeups = 0;
		task.first_wait = task.wait_count = 0;
		task.touched = false;
		c->tasks[kept++] = task;
	}
	if (kept < c->task_count) {
		memset(c->table, 0, TABLE * sizeof(*c->table));
		c->task_count = kept;
		for (size_t k = 0; k < kept; k++)
			*ktc_entry(c, c->tasks[k].pid) = k + 1;
	}
	memset(c->cpus, 0, c->nr_cpus * sizeof(*c->cpus));
	c->events = c->kicks = c->left_out = 0;
	c->wait_count = 0;
	c->begun = true;
	c->begin_ns = now_ns;
}

size_t ktc_finish(struct ktc_counts *c, uint64_t now_ns, struct ktc_stretch *stretch, struct ktc_rate *rates,
		  size_t room, struct ktc_cpu *cpus, uint64_t *buckets)
{
	size_t all, listed;

	for (uint16_t cpu = 0; cpu < c->nr_cpus; cpu++) {
		struct on_cpu *on = &c->on_cpu[cpu];

		if (!on->known)
			continue;
		ktc_charge(c, cpu, now_ns, on->pid);
		on->since_ns = now_ns > on->since_ns ? now_ns : on->since_ns;
	}
	stretch->waits = order_waits(c);
	listed = list_tasks(c, now_ns, rates, room, &all);
	stretch->tasks = all + c->left_out;
	stretch->span_ns = c->begun ? after(now_ns, c->begin_ns) : 0;
	stretch->events = c->events;
	stretch->kicks = c->kicks;
	memcpy(cpus, c->cpus, c->nr_cpus * sizeof(*cpus));
	memcpy(buckets, c->buckets, (c->bound_count + 1) * sizeof(*buckets));
	begin(c, now_ns);
	return listed;
}
