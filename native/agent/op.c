// SPDX-License-Identifier: MIT
#include "op.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "ask.h"
#include "cgroup.h"
#include "loop.h"
#include "port.h"
#include "swap.h"
#include "util.h"
#include "worker.h"

#define OP_WITHIN_NS (10 * NSEC_PER_SEC) // under emulation a CPU takes seconds to come
#define DETAIL_BYTES 236
#define CPU_ONLINE_PATH "/sys/devices/system/cpu/cpu%d/online"

// What a child says when it is through.
struct word {
	int error;
	char detail[CGROUP_DETAIL_BYTES];
};

static uint64_t scenario_start_ns;
static pid_t child; // at work; 0 for none
static uint32_t nr_cgroups;

static void tell(uint16_t step, uint16_t index, const struct plan_op *op, uint64_t start_ns, int error,
		 const char *detail)
{
	struct {
		uint32_t elapsed_ms, took_us, error;
		uint16_t step, index;
		uint32_t kind;
		char detail[DETAIL_BYTES];
	} body = {
		.elapsed_ms = (uint32_t)((now_ns() - scenario_start_ns) / NSEC_PER_MSEC),
		.took_us = (uint32_t)((now_ns() - start_ns) / 1000),
		.error = (uint32_t)error,
		.step = step,
		.index = index,
		.kind = op->kind,
	};

	_Static_assert(sizeof(body) == 256, "the wire's size of a StimulusApplied");
	memcpy(body.detail, detail, strnlen(detail, sizeof(body.detail)));
	port_send(KTF_STIMULUS_APPLIED, &body, sizeof(body));
}

static int set_online(int cpu, bool online, char *detail)
{
	char path[64];

	snprintf(path, sizeof(path), CPU_ONLINE_PATH, cpu);
	if (!write_small_file(path, online ? "1" : "0"))
		return 0;
	snprintf(detail, CGROUP_DETAIL_BYTES, "%s", path);
	return errno;
}

// Do something to each worker that an operation is about; a worker that has ended meanwhile is none.
static int for_workers(const struct plan_op *op, char *detail)
{
	pid_t pids[PLAN_MAX_PROCESSES];
	uint32_t nr = worker_find(op->workers, pids);
	int err = nr ? 0 : ESRCH;

	for (uint32_t i = 0; i < nr && !err; i++) {
		if (op->kind == OP_MOVE_WORKERS)
			err = cgroup_move(op->cgroup, pids[i], detail);
		else if (sched_setaffinity(pids[i], sizeof(op->cpus), &op->cpus))
			err = errno;
	}
	return err;
}

// In the child.
static int carry_out(const struct plan_op *op, char *detail)
{
	switch (op->kind) {
	case OP_ADD_CGROUP:
		if (!nr_cgroups)
			cgroup_enable();
		return cgroup_add(op, detail);
	case OP_REMOVE_CGROUP:
		return cgroup_remove(op->cgroup, detail);
	case OP_SET_CPUSET:
		return cgroup_set_cpus(op, detail);
	case OP_SET_WEIGHT:
		return cgroup_set_weight(op, detail);
	case OP_SET_CPU_MAX:
		return cgroup_set_max(op, detail);
	case OP_FREEZE_CGROUP:
	case OP_THAW_CGROUP:
		return cgroup_freeze(op->cgroup, op->kind == OP_FREEZE_CGROUP, detail);
	case OP_MOVE_WORKERS:
	case OP_SET_AFFINITY:
		return for_workers(op, detail);
	case OP_OFFLINE_CPU:
	case OP_ONLINE_CPU:
		return set_online(op->cpu, op->kind == OP_ONLINE_CPU, detail);
	default:
		return ENOSYS;
	}
}

static void work_in_child(const struct plan_op *op, int fd)
{
	struct word word = { 0 };

	word.error = carry_out(op, word.detail);
	if (write(fd, &word, sizeof(word)) != sizeof(word))
		_exit(1);
	_exit(0);
}

static int await_child(int fd, struct word *word)
{
	uint64_t deadline_ns = now_ns() + OP_WITHIN_NS;

	while (child && now_ns() < deadline_ns)
		pump(deadline_ns);
	if (read(fd, word, sizeof(*word)) == sizeof(*word))
		return word->error;
	if (!child) {
		snprintf(word->detail, sizeof(word->detail), "its process died");
		return EIO;
	}
	kill(child, SIGKILL); // which it may not heed before the kernel lets it go
	child = 0;
	snprintf(word->detail, sizeof(word->detail), "not done after %llu s", OP_WITHIN_NS / NSEC_PER_SEC);
	return ETIMEDOUT;
}

static int do_in_child(const struct plan_op *op, char *detail)
{
	const struct sched_param param = { .sched_priority = PRIO_LOADER };
	struct word word = { 0 };
	int fds[2], err;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return errno;
	child = fork();
	if (!child)
		work_in_child(op, fds[1]);
	err = errno;
	close(fds[1]);
	if (child < 0) {
		child = 0;
		close(fds[0]);
		return err;
	}
	// From here, because as an ordinary task it may never run to do it itself.
	sched_setscheduler(child, SCHED_FIFO, &param);
	err = await_child(fds[0], &word);
	close(fds[0]);
	word.detail[sizeof(word.detail) - 1] = '\0';
	memcpy(detail, word.detail, sizeof(word.detail));
	return err;
}

static int change_scheduler(const struct plan_op *op, char *detail)
{
	enum swap_wish wish = op->kind == OP_ATTACH_SCHEDULER	? SWAP_ATTACH
			      : op->kind == OP_DETACH_SCHEDULER ? SWAP_DETACH
								: SWAP_REPLACE;

	return swap_do(wish, op->sched, detail, DETAIL_BYTES) ? 0 : EINVAL;
}

static int do_one(const struct plan_op *op, char *detail)
{
	switch (op->kind) {
	case OP_ATTACH_SCHEDULER:
	case OP_DETACH_SCHEDULER:
	case OP_REPLACE_SCHEDULER:
	case OP_RESTART_SCHEDULER:
		return change_scheduler(op, detail);
	case OP_CAPTURE:
		return ask_request(HOST_CAPTURE, op->tag, detail, DETAIL_BYTES);
	case OP_WATCH:
		return ask_request(HOST_WATCH, op->tag, detail, DETAIL_BYTES);
	case OP_WRITE_KERNEL:
		return ask_kernel_op(op, detail, DETAIL_BYTES);
	default:
		return do_in_child(op, detail);
	}
}

int op_do(uint16_t step, uint16_t index, const struct plan_op *op)
{
	uint64_t start_ns = now_ns();
	char detail[DETAIL_BYTES] = "";
	int err = do_one(op, detail);

	nr_cgroups += !err && op->kind == OP_ADD_CGROUP;
	nr_cgroups -= !err && op->kind == OP_REMOVE_CGROUP;
	tell(step, index, op, start_ns, err, detail);
	if (err)
		host_printf(KTF_STDERR, "ktstr-agent: %s: %s%s%s\n", plan_op_name(op->kind), strerror(err),
			    detail[0] ? ": " : "", detail);
	return err;
}

void op_pass_over(uint16_t step, uint16_t index, const struct plan_op *op)
{
	tell(step, index, op, now_ns(), ECANCELED, "");
}

uint32_t op_cgroups(void)
{
	return nr_cgroups;
}

static bool op_reaped(pid_t pid, int status)
{
	(void)status;
	if (pid != child)
		return false;
	child = 0;
	return true;
}

void op_begin(uint64_t start_ns)
{
	scenario_start_ns = start_ns;
}

void op_init(void)
{
	loop_register(NULL, op_reaped);
}
