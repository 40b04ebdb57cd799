// SPDX-License-Identifier: MIT
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent.h"
#include "cgroup.h"
#include "host.h"
#include "loop.h"
#include "port.h"
#include "util.h"
#include "work.h"

#define REPORT_EVERY_NS NSEC_PER_SEC
#define BEAT_EVERY_NS (100 * NSEC_PER_MSEC)

static struct work_slot *slots; // shared with the workers
static struct worker {
	pid_t pid;
	char comm[COMM_BYTES];
} workers[PLAN_MAX_PROCESSES];
static uint32_t nr_workers; // of this step
static uint64_t iterations_before; // of earlier steps
static uint64_t report_at_ns, beat_at_ns;
static int output_pipes[2][2]; // the workers' stdout and stderr

static void forward(int fd, uint32_t msg_type)
{
	char text[TEXT_CHUNK_BYTES];
	ssize_t n;

	for (int i = 0; i < TEXT_CHUNKS_MAX && (n = read(fd, text, sizeof(text))) > 0; i++)
		host_text(msg_type, text, (size_t)n);
}

static void stdout_ready(int fd)
{
	forward(fd, KTF_STDOUT);
}

static void stderr_ready(int fd)
{
	forward(fd, KTF_STDERR);
}

// In the child: become what the group asks for. Returns what could not be had, or NULL.
static const char *become(const struct plan_group *group, const char *comm)
{
	struct sched_param param = { 0 };
	char where[CGROUP_DETAIL_BYTES];
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, comm);
	dup2(output_pipes[0][1], STDOUT_FILENO);
	dup2(output_pipes[1][1], STDERR_FILENO);
	if (group->cgroup[0]) {
		int err = cgroup_move(group->cgroup, 0, where);

		errno = err;
		if (err)
			return "cgroup";
	}
	if (group->pinned && sched_setaffinity(0, sizeof(group->cpus), &group->cpus))
		return "affinity";
	if (group->policy == SCHED_FIFO || group->policy == SCHED_RR)
		param.sched_priority = PRIO_WORKER;
	if (sched_setscheduler(0, group->policy, &param))
		return "policy";
	if (setpriority(PRIO_PROCESS, 0, group->nice))
		return "nice";
	return NULL;
}

static int start_one(const struct plan_group *group, struct work_pair *pair, uint32_t number, int status_fd)
{
	struct worker *worker = &workers[nr_workers];
	struct work_slot *slot = &slots[nr_workers];
	const char *missing;

	memset(slot, 0, sizeof(*slot));
	beat_begin(nr_workers, &slot->beat);
	snprintf(worker->comm, sizeof(worker->comm), "%s-%u", worker_kinds[group->kind], number);
	worker->pid = fork();
	if (worker->pid < 0)
		return -1;
	if (worker->pid) {
		nr_workers++;
		return 0;
	}
	missing = become(group, worker->comm);
	if (missing) {
		dprintf(status_fd, "%s: %s: %s", worker->comm, missing, strerror(errno));
		_exit(1);
	}
	close(status_fd);
	work(group->kind, slot, pair, number);
}

static int start_group(const struct plan_group *group, uint32_t *numbers, int status_fd)
{
	bool pairs = plan_group_processes(group) != group->count;

	for (uint32_t i = 0; i < group->count; i++) {
		struct work_pair pair = { 0 };
		int err;

		// The futex words of a pair live in the slot of its first process.
		if (pairs && work_pair_open(&pair, group->kind, &slots[nr_workers]))
			return -1;
		err = start_one(group, &pair, numbers[group->kind]++, status_fd);
		if (!err && pairs) {
			pair.second = true;
			err = start_one(group, &pair, numbers[group->kind]++, status_fd);
		}
		if (pairs)
			work_pair_close(&pair);
		if (err)
			return -1;
	}
	return 0;
}

int worker_start(const struct plan_step *step, char *problem, size_t bytes)
{
	uint32_t numbers[WORKER_KINDS] = { 0 };
	int status[2], err = 0;
	ssize_t n;

	if (pipe2(status, O_CLOEXEC))
		return -1;
	report_at_ns = now_ns() + REPORT_EVERY_NS;
	for (uint32_t i = 0; i < step->nr_groups && !err; i++)
		err = start_group(&step->groups[i], numbers, status[1]);
	if (err)
		snprintf(problem, bytes, "worker: %s", strerror(errno));
	close(status[1]);
	fcntl(status[0], F_SETFL, O_NONBLOCK);
	// EOF comes when every worker is what it should be. A scheduler that does not run them must not hold
	// this up, hence the deadline.
	for (uint64_t deadline = now_ns() + 2 * NSEC_PER_SEC; !err && now_ns() < deadline;) {
		n = read(status[0], problem, bytes - 1);
		if (n > 0) {
			problem[n] = '\0';
			err = -1;
		} else if (n == 0) {
			break;
		} else {
			pump(now_ns() + 5 * NSEC_PER_MSEC);
		}
	}
	close(status[0]);
	return err;
}

void worker_stop(void)
{
	for (uint32_t i = 0; i < nr_workers; i++) {
		if (workers[i].pid > 0)
			kill(workers[i].pid, SIGKILL);
		iterations_before += __atomic_load_n(&slots[i].iterations, __ATOMIC_RELAXED);
	}
	nr_workers = 0;
}

static bool worker_reaped(pid_t pid, int status)
{
	(void)status;
	for (uint32_t i = 0; i < nr_workers; i++) {
		if (workers[i].pid == pid) {
			workers[i].pid = 0;
			return true;
		}
	}
	return false;
}

uint32_t worker_count(void)
{
	uint32_t running = 0;

	for (uint32_t i = 0; i < nr_workers; i++)
		running += workers[i].pid > 0;
	return running;
}

uint32_t worker_find(const char *names, pid_t *pids)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < nr_workers; i++)
		if (workers[i].pid > 0 && plan_op_means(names, workers[i].comm))
			pids[nr++] = workers[i].pid;
	return nr;
}

uint64_t worker_iterations(void)
{
	uint64_t total = iterations_before;

	for (uint32_t i = 0; i < nr_workers; i++)
		total += __atomic_load_n(&slots[i].iterations, __ATOMIC_RELAXED);
	return total;
}

uint32_t worker_op_kinds(const struct plan_step *step)
{
	uint32_t kinds = 0;

	for (uint32_t i = 0; i < step->nr_groups; i++)
		kinds |= 1u << step->groups[i].kind;
	return kinds;
}

void worker_report(void)
{
	static struct {
		uint32_t count;
		struct __attribute__((packed)) {
			uint32_t pid;
			uint64_t iterations;
			char comm[COMM_BYTES];
		} rows[PLAN_MAX_PROCESSES];
	} __attribute__((packed)) report;

	_Static_assert(sizeof(report.rows[0]) == 28, "the wire's size of a row");
	report.count = 0;
	for (uint32_t i = 0; i < nr_workers; i++) {
		if (workers[i].pid <= 0)
			continue;
		report.rows[report.count].pid = (uint32_t)workers[i].pid;
		report.rows[report.count].iterations =
			__atomic_load_n(&slots[i].iterations, __ATOMIC_RELAXED);
		memcpy(report.rows[report.count].comm, workers[i].comm, COMM_BYTES);
		report.count++;
	}
	port_send(KTF_WORKER_REPORT, &report, (uint32_t)(4 + report.count * sizeof(report.rows[0])));
}

// When to do next what was due at `due` and comes every `period`; a machine that was frozen does not catch up.
static uint64_t next_time(uint64_t due, uint64_t period, uint64_t now)
{
	return due + period > now ? due + period : now + period;
}

static void collect_beats(void)
{
	for (uint32_t i = 0; i < nr_workers; i++)
		beat_collect(i, &slots[i].beat);
	beat_send(worker_count());
}

// Report, and pass heartbeats on, when due.
static uint64_t worker_tick(uint64_t now_ns)
{
	if (now_ns >= beat_at_ns) {
		collect_beats();
		beat_at_ns = next_time(beat_at_ns, BEAT_EVERY_NS, now_ns);
	}
	if (!nr_workers)
		return beat_at_ns;
	if (now_ns >= report_at_ns) {
		worker_report();
		report_at_ns = next_time(report_at_ns, REPORT_EVERY_NS, now_ns);
	}
	return report_at_ns < beat_at_ns ? report_at_ns : beat_at_ns;
}

int worker_init(void)
{
	slots = mmap(NULL, sizeof(*slots) * PLAN_MAX_PROCESSES, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED || beat_init())
		return -1;
	work_init();
	for (int i = 0; i < 2; i++) {
		if (pipe2(output_pipes[i], O_CLOEXEC | O_NONBLOCK))
			return -1;
	}
	pump_watch(output_pipes[0][0], stdout_ready);
	pump_watch(output_pipes[1][0], stderr_ready);
	loop_register(worker_tick, worker_reaped);
	return 0;
}
