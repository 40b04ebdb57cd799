// SPDX-License-Identifier: MIT
#include "ktstr_known.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREEMPTED 0x100 // `prev_state` of a task that would have run on

void ktc_destroy(struct ktc_counts *c)
{
	if (!c)
		return;
	free(c->tasks);
	free(c->table);
	free(c->listed);
	free(c->on_cpu);
	free(c->cpus);
	free(c->bounds_ns);
	free(c->buckets);
	free(c->waits);
	free(c->ordered);
	free(c);
}

// Each event ends one wait at most.
static bool make_room(struct ktc_counts *c, size_t more)
{
	size_t room = c->wait_count + more;
	struct wait *waits;
	uint64_t *ordered;

	if (room <= c->wait_room)
		return true;
	waits = reallocarray(c->waits, room, sizeof(*waits));
	if (!waits)
		return false;
	c->waits = waits;
	ordered = reallocarray(c->ordered, room, sizeof(*ordered));
	if (!ordered)
		return false;
	c->ordered = ordered;
	c->wait_room = room;
	return true;
}

struct ktc_counts *ktc_create(uint16_t nr_cpus, const uint64_t *bounds_ns, size_t bound_count)
{
	struct ktc_counts *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->nr_cpus = nr_cpus;
	c->bound_count = bound_count;
	c->tasks = calloc(KTC_MAX_KNOWN, sizeof(*c->tasks));
	c->table = calloc(TABLE, sizeof(*c->table));
	c->listed = calloc(KTC_MAX_KNOWN, sizeof(*c->listed));
	c->on_cpu = calloc(nr_cpus + 1, sizeof(*c->on_cpu));
	c->cpus = calloc(nr_cpus + 1, sizeof(*c->cpus));
	c->bounds_ns = calloc(bound_count + 1, sizeof(*c->bounds_ns));
	c->buckets = calloc(bound_count + 1, sizeof(*c->buckets));
	if (!c->tasks || !c->table || !c->listed || !c->on_cpu || !c->cpus || !c->bounds_ns || !c->buckets ||
	    !make_room(c, 1) || getentropy(&c->multiplier, sizeof(c->multiplier))) {
		ktc_destroy(c);
		return NULL;
	}
	c->multiplier |= 1;
	memcpy(c->bounds_ns, bounds_ns, bound_count * sizeof(*bounds_ns));
	return c;
}

static void add_ns(uint64_t *sum, uint64_t ns)
{
	if (__builtin_add_overflow(*sum, ns, sum))
		*sum = UINT64_MAX;
}

uint32_t *ktc_entry(const struct ktc_counts *c, int64_t pid)
{
	size_t at = (uint64_t)pid * c->multiplier >> (64 - TABLE_BITS);

	while (c->table[at] && c->tasks[c->table[at] - 1].pid != pid)
		at = (at + 1) & (TABLE - 1);
	return &c->table[at];
}

static void forget_tasks(struct ktc_counts *c)
{
	for (size_t k = 0; k < c->task_count; k++)
		c->left_out += c->tasks[k].touched;
	for (size_t k = 0; k < c->wait_count; k++)
		c->waits[k].task = -1;
	memset(c->table, 0, TABLE * sizeof(*c->table));
	c->task_count = 0;
}

static struct task *task_of(struct ktc_counts *c, int64_t pid, uint16_t cpu)
{
	uint32_t *entry = ktc_entry(c, pid);
	struct task *task;

	if (*entry) {
		task = &c->tasks[*entry - 1];
	} else {
		if (c->task_count == KTC_MAX_KNOWN) {
			forget_tasks(c);
			entry = ktc_entry(c, pid);
		}
		task = &c->tasks[c->task_count++];
		*task = (struct task){ .pid = pid, .cpu = cpu };
		*entry = c->task_count;
	}
	task->touched = true;
	return task;
}

bool ktc_runs(const struct ktc_counts *c, int64_t pid)
{
	for (uint16_t cpu = 0; cpu < c->nr_cpus; cpu++)
		if (c->on_cpu[cpu].known && c->on_cpu[cpu].pid == pid)
			return true;
	return false;
}

void ktc_charge(struct ktc_counts *c, uint16_t cpu, uint64_t now_ns, int64_t pid)
{
	const struct on_cpu *on = &c->on_cpu[cpu];
	uint64_t from_ns = on->since_ns > c->begin_ns ? on->since_ns : c->begin_ns;

	if (!on->known || on->pid != pid)
		return;
	add_ns(pid ? &c->cpus[cpu].busy_ns : &c->cpus[cpu].idle_ns, after(now_ns, from_ns));
	if (pid)
		add_ns(&task_of(c, pid, cpu)->ran_ns, after(now_ns, from_ns));
}

static void end_wait(struct ktc_counts *c, struct task *task, uint64_t now_ns)
{
	uint64_t ns = after(now_ns, task->since_ns);
	size_t bucket = 0;

	while (bucket < c->bound_count && c->bounds_ns[bucket] < ns)
		bucket++;
	c->buckets[bucket]++;
	c->waits[c->wait_count++] = (struct wait){ .ns = ns, .task = task - c->tasks };
	task->waits = false;
}

static void leave(struct ktc_counts *c, const struct ktt_event *event)
{
	int64_t state = event->values[2];
	struct task *task = task_of(c, event->values[1], event->cpu);

	task->cpu = event->cpu;
	task->sleeps = state != 0 && state != PREEMPTED;
	task->waits = !task->sleeps;
	task->since_ns = event->time_ns;
	task->preempted += !task->sleeps;
	c->cpus[event->cpu].preempted += !task->sleeps;
}

static void take_switch(struct ktc_counts *c, const struct ktt_event *event)
{
	int64_t pid = event->values[0], prev_pid = event->values[1];
	struct task *task;

	c->cpus[event->cpu].switches++;
	ktc_charge(c, event->cpu, event->time_ns, prev_pid);
	if (prev_pid)
		leave(c, event);
	c->on_cpu[event->cpu] = (struct on_cpu){ .known = true, .pid = pid, .since_ns = event->time_ns };
	if (!pid)
		return;
	task = task_of(c, pid, event->cpu);
	task->cpu = event->cpu;
	task->prio = event->values[5];
	task->has_prio = true;
	task->sleeps = false;
	task->switches++;
	if (task->waits)
		end_wait(c, task, event->time_ns);
}

static void take_wakeup(struct ktc_counts *c, const struct ktt_event *event)
{
	struct task *task = task_of(c, event->values[0], event->cpu);

	task->wakeups++;
	if (event->kind == KTC_NEW)
		task->exits = false;
	if (!task->waits && !ktc_runs(c, task->pid)) {
		task->waits = true;
		task->since_ns = event->time_ns;
		task->sleeps = false;
	}
}

static void take(struct ktc_counts *c, const struct ktt_event *event)
{
	uint32_t place;

	c->events++;
	if (!c->begun) {
		c->begun = true;
		c->begin_ns = event->time_ns;
	}
	switch (event->kind) {
	case KTC_SWITCH:
		take_switch(c, event);
		break;
	case KTC_WAKEUP:
	case KTC_NEW:
		take_wakeup(c, event);
		break;
	case KTC_MIGRATE:
		task_of(c, event->values[0], event->cpu)->migrations++;
		break;
	case KTC_KICK:
		c->kicks++;
		break;
	case KTC_EXIT:
		// It runs on for a while before it is gone.
		place = *ktc_entry(c, event->values[0]);
		if (place)
			c->tasks[place - 1].exits = true;
		break;
	}
}

bool ktc_add(struct ktc_counts *c, const struct ktt_event *events, size_t count)
{
	if (!make_room(c, count))
		return false;
	for (size_t k = 0; k < count; k++)
		if (events[k].kind && !events[k].missing && events[k].cpu < c->nr_cpus)
			take(c, &events[k]);
	return true;
}

void ktc_forget(struct ktc_counts *c, uint16_t cpu)
{
	if (cpu < c->nr_cpus)
		c->on_cpu[cpu].known = false;
}

void ktc_forget_waits(struct ktc_counts *c)
{
	for (size_t k = 0; k < c->task_count; k++)
		c->tasks[k].waits = false;
}
