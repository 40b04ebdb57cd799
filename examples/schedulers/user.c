// SPDX-License-Identifier: MIT
/*
 * Decides for user.bpf.c which task runs next: the one that has had the least time for its weight. Between two looks it
 * sleeps until the ring buffer has something.
 *
 * No task runs without this program, so it must never wait for one: it keeps all its memory in RAM (a page that is
 * read from disk would need a task of the kernel's to do so) and allocates nothing while it decides.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "program.h"
#include "user.h"

#define WAITING_MAX 4096
#define POLL_MS 100

PROGRAM_OBJECT(OBJECT);

static struct entry {
	unsigned int pid;
	double vtime_ns;
} waiting[WAITING_MAX]; // the first to run is the last
static unsigned int nr_waiting;
static int decided_fd;
static unsigned long long nr_decided;

static void decide(void)
{
	while (nr_waiting) {
		unsigned int pid = waiting[nr_waiting - 1].pid;

		if (bpf_map_update_elem(decided_fd, NULL, &pid, BPF_ANY))
			return; // the queue is full: the rest has to wait for the next look
		nr_waiting--;
		nr_decided++;
	}
}

static int take(void *context, void *data, size_t bytes)
{
	const struct waiting_task *task = data;
	unsigned int at;
	double vtime_ns;

	(void)context;
	if (bytes < sizeof(*task))
		return 0;
	if (nr_waiting == WAITING_MAX) {
		decide();
		if (nr_waiting == WAITING_MAX)
			return -ENOSPC; // the kernel keeps the record; it is read again
	}
	vtime_ns = (double)task->ran_ns * 100 / (task->weight ? task->weight : 1);
	for (at = nr_waiting++; at && waiting[at - 1].vtime_ns < vtime_ns; at--)
		waiting[at] = waiting[at - 1];
	waiting[at] = (struct entry){ .pid = task->pid, .vtime_ns = vtime_ns };
	return 0;
}

int main(void)
{
	struct bpf_object *object;
	struct ring_buffer *ring;
	int *program_tgid;

	program_begin();
	object = program_open("user");
	program_tgid = object ? program_constant(object, "program_tgid") : NULL;
	if (!program_tgid || mlockall(MCL_CURRENT | MCL_FUTURE))
		return 2;
	*program_tgid = getpid();
	if (bpf_object__load(object))
		return 2;
	decided_fd = bpf_object__find_map_fd_by_name(object, "decided");
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "undecided"), take, NULL, NULL);
	if (!ring || !program_attach(object))
		return 2;
	while (!asked_to_end && !program_exit_record(object).kind) {
		ring_buffer__poll(ring, nr_waiting ? 1 : POLL_MS);
		decide();
	}
	printf("decided %llu times\n", nr_decided);
	return 0;
}
