// SPDX-License-Identifier: MIT
#include "swap.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "host.h"
#include "loop.h"
#include "port.h"
#include "program.h"
#include "scheduler.h"
#include "swap_reply.h"
#include "upload.h"
#include "util.h"

#define VERIFY_WITHIN_NS (60 * NSEC_PER_SEC) // under emulation it is slow

enum phase {
	IDLE,
	VERIFYING, // the candidate's loader is at work
	READY, // to be carried out by swap_serve()
	SWAPPING, // which is doing so
};

static struct {
	struct plan *plan;
	int step_sched; // of the current step; -1 for the kernel's own
	bool ended;
	enum phase phase;
	struct host_sched_command command; // the one that is carried out
	int target; // in the plan
	struct plan_sched entry; // of a replacement
	struct program *candidate; // NULL when there is nothing to verify
	uint64_t deadline_ns;
} swap = { .step_sched = -1 };

static size_t keep_log(const struct program *program)
{
	return program_log(program, swap_reply_log, PROGRAM_LOG_BYTES);
}

static void free_entry(struct plan_sched *sched)
{
	if (sched->argv[0])
		upload_remove(sched->argv[0]);
	for (int i = 0; i < PLAN_MAX_ARGS && sched->argv[i]; i++)
		free(sched->argv[i]);
	memset(sched, 0, sizeof(*sched));
}

static void finish(void)
{
	free_entry(&swap.entry);
	swap.candidate = NULL;
	swap.phase = IDLE;
}

static void conclude(enum swap_status status, enum refuser who, const char *reason, size_t log)
{
	swap_reply(swap.command.id, status, who, reason, log);
	finish();
}

static void refuse(const char *reason)
{
	conclude(FAILED, REFUSER_NOBODY, reason, 0);
}

// The candidate is not wanted any more. It is reaped by nobody: the slot is free when it is.
static void drop_candidate(void)
{
	if (swap.candidate && swap.candidate->pid)
		program_signal(swap.candidate, SIGKILL);
}

// The new object takes the place of the one that it replaces, for this step and those to come.
static void commit(void)
{
	struct plan_sched *sched = &swap.plan->scheds[swap.target];
	char name[PLAN_NAME_BYTES];

	if (!swap.entry.argv[0])
		return;
	memcpy(name, sched->name, sizeof(name)); // by which steps and commands call it
	free_entry(sched);
	*sched = swap.entry;
	memcpy(sched->name, name, sizeof(name));
	memset(&swap.entry, 0, sizeof(swap.entry));
}

// The scheduler of the plan that a command is about; -1 when there is none of that name. Without a name it is the one that
// is loaded, or that of the step, or the only one.
static int find_target(const char *name)
{
	const struct plan_sched *scheds = swap.plan->scheds, *loaded = sched_loaded();

	if (!name[0] && loaded)
		return (int)(loaded - scheds);
	if (!name[0])
		return swap.step_sched < 0 && swap.plan->nr_scheds == 1 ? 0 : swap.step_sched;
	if (swap.step_sched >= 0 && !strcmp(scheds[swap.step_sched].name, name))
		return swap.step_sched;
	for (uint32_t i = 0; i < swap.plan->nr_scheds; i++)
		if (!strcmp(scheds[i].name, name))
			return (int)i;
	return -1;
}

static void verify(const struct plan_sched *sched)
{
	swap.candidate = sched_spare_program();
	if (program_start(swap.candidate, sched, true)) {
		refuse("the guest has no room for another process");
		return;
	}
	swap.deadline_ns = now_ns() + VERIFY_WITHIN_NS;
	swap.phase = VERIFYING;
}

static void begin_replace(void)
{
	char path[UPLOAD_PATH_BYTES];
	const char *problem = upload_finish(swap.command.id, path, swap.entry.name);

	if (problem) {
		refuse(problem);
		return;
	}
	swap.entry.is_object = true;
	swap.entry.argv[0] = strdup(path);
	if (swap.entry.argv[0])
		verify(&swap.entry);
	else
		refuse("the guest has no memory");
}

static void begin_attach(void)
{
	const struct plan_sched *sched = &swap.plan->scheds[swap.target];

	if (sched_loaded() == sched)
		refuse("it is attached already");
	else if (sched->is_object && sched_loaded())
		verify(sched);
	else
		swap.phase = READY;
}

static void begin(const struct host_sched_command *command)
{
	memset(&swap.entry, 0, sizeof(swap.entry));
	swap.candidate = NULL;
	swap.command = *command;
	swap.target = find_target(command->target);
	if (swap.ended)
		refuse("the scenario has ended");
	else if (command->op == SCHED_DETACH)
		swap.phase = READY;
	else if (swap.target < 0 && command->target[0])
		refuse("the scenario has no scheduler of that name");
	else if (swap.target < 0)
		refuse("this step runs on the kernel's own scheduler: say which one is meant");
	else if (command->op == SCHED_REPLACE)
		begin_replace();
	else
		begin_attach();
}

static void cancel(uint32_t id)
{
	if (swap.phase == IDLE || swap.phase == SWAPPING || swap.command.id != id)
		return;
	drop_candidate();
	refuse("the host gave up waiting");
}

static void accept(const struct host_sched_command *command)
{
	if (command->op == SCHED_CANCEL)
		cancel(command->id);
	else if (swap.phase != IDLE)
		swap_reply(command->id, FAILED, REFUSER_NOBODY,
			   "another change of the scheduler is in progress", 0);
	else
		begin(command);
}

static void look_at_candidate(uint64_t now)
{
	struct sched_refusal why;

	if (swap.candidate->verified && swap.candidate->pid) {
		swap.phase = READY;
	} else if (!swap.candidate->pid) {
		sched_why_not(swap.candidate, "the loader ended without a word", &why);
		conclude(REJECTED, why.who, why.reason, keep_log(swap.candidate));
	} else if (now >= swap.deadline_ns) {
		drop_candidate();
		conclude(FAILED, REFUSER_NOBODY, "it was not verified in time", keep_log(swap.candidate));
	}
}

static uint64_t swap_tick(uint64_t now)
{
	struct host_sched_command command;

	while (host_take_sched_command(&command))
		accept(&command);
	if (swap.phase == VERIFYING)
		look_at_candidate(now);
	return swap.phase == VERIFYING ? swap.deadline_ns : UINT64_MAX;
}

// Whichever program is not the one that runs: the candidate, or one that was dropped.
static bool swap_reaped(pid_t pid, int status)
{
	struct program *program = sched_spare_program();
	const char *name =
		program == swap.candidate && swap.phase != IDLE ? program->sched->name : "candidate";
	int code;

	if (!program_reaped(program, pid, status, &code))
		return false;
	host_printf(KTF_SCHED_LOG, "--- end %s: exit code %d ---\n", name, code);
	return true;
}

// Load the scheduler of before again, and add to the reason when it does not attach either.
static void restore(const struct plan_sched *before, char *reason, size_t bytes)
{
	struct sched_refusal why = { 0 };
	size_t used = strlen(reason);

	if (!before || host.shutdown)
		return;
	if (sched_start(before, &why))
		snprintf(reason + used, bytes - used, "; and %.100s did not attach again: %.200s",
			 before->name, why.reason);
}

static void bring_in(void)
{
	const struct plan_sched *before = sched_loaded();
	struct plan_sched *target = &swap.plan->scheds[swap.target];
	struct program *program = swap.candidate ? swap.candidate : program_other(sched_spare_program());
	char reason[SWAP_REASON_BYTES];
	struct sched_refusal why = { 0 };
	size_t log;

	sched_stop();
	if (swap.candidate ? !sched_release(program, &why) : !sched_start(target, &why)) {
		program->sched = target;
		commit();
		conclude(ATTACHED, REFUSER_NOBODY, "", 0);
		return;
	}
	snprintf(reason, sizeof(reason), "%s", why.reason);
	log = keep_log(program); // before another one is started in its place
	restore(before, reason, sizeof(reason));
	conclude(why.who ? REJECTED : FAILED, why.who, reason, log);
}

static void detach(void)
{
	if (!sched_loaded()) {
		refuse("no scheduler is attached");
		return;
	}
	sched_stop();
	conclude(DETACHED, REFUSER_NOBODY, "", 0);
}

// Whether the object is for a scheduler that is neither the step's nor loaded.
static bool is_for_later(void)
{
	return swap.command.op == SCHED_REPLACE && swap.target != swap.step_sched &&
	       sched_loaded() != &swap.plan->scheds[swap.target];
}

static void store(void)
{
	drop_candidate();
	commit();
	conclude(STORED, REFUSER_NOBODY, "", 0);
}

void swap_serve(void)
{
	swap_tick(now_ns());
	if (swap.phase != READY)
		return;
	swap.phase = SWAPPING;
	if (swap.command.op == SCHED_DETACH)
		detach();
	else if (is_for_later())
		store();
	else if (swap.candidate && !swap.candidate->pid)
		conclude(FAILED, REFUSER_NOBODY, "its loader died after it was verified",
			 keep_log(swap.candidate));
	else
		bring_in();
}

static void begin_own(enum swap_wish wish, int sched)
{
	const struct plan_sched *loaded = sched_loaded();

	swap_own.status = FAILED;
	snprintf(swap_own.reason, sizeof(swap_own.reason), "the scenario ends");
	memset(&swap.entry, 0, sizeof(swap.entry));
	swap.candidate = NULL;
	swap.command = (struct host_sched_command){ .id = SWAP_OWN_ID, .op = SCHED_ATTACH };
	swap.target = sched < 0 ? find_target("") : sched;
	if (wish == SWAP_DETACH) {
		swap.command.op = SCHED_DETACH;
		swap.phase = READY;
	} else if (wish == SWAP_ATTACH && loaded) {
		refuse("a scheduler is attached already");
	} else if (wish == SWAP_REPLACE && !loaded) {
		refuse("no scheduler is attached");
	} else if (swap.target < 0) {
		refuse("this step runs on the kernel's own scheduler");
	} else if (loaded && swap.plan->scheds[swap.target].is_object) {
		verify(&swap.plan->scheds[swap.target]);
	} else {
		swap.phase = READY;
	}
}

// Wait until nothing is under way, or the scenario ends.
static void settle(void)
{
	while (swap.phase != IDLE && !host.shutdown) {
		swap_serve();
		if (swap.phase != IDLE)
			pump(swap.deadline_ns);
	}
}

bool swap_do(enum swap_wish wish, int sched, char *reason, size_t bytes)
{
	settle();
	if (host.shutdown)
		return false;
	begin_own(wish, sched);
	settle();
	snprintf(reason, bytes, "%s", swap_own.reason);
	return swap_own.status == ATTACHED || swap_own.status == DETACHED;
}

void swap_begin_step(int sched)
{
	swap.step_sched = sched;
}

void swap_end(void)
{
	swap.ended = true;
	if (swap.phase == IDLE)
		return;
	drop_candidate();
	refuse("the scenario has ended");
}

void swap_init(struct plan *plan)
{
	swap.plan = plan;
	loop_register(swap_tick, swap_reaped);
}
