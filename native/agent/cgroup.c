// SPDX-License-Identifier: MIT
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

#define ROOT "/sys/fs/cgroup"
#define PATH_BYTES 128
#define LIST_BYTES 2048
#define DEFAULT_PERIOD_US 100000
#define FREEZE_WITHIN_NS (5 * NSEC_PER_SEC)

static void path_of(char *path, const char *name, const char *file)
{
	snprintf(path, PATH_BYTES, ROOT "/%s%s%s", strcmp(name, "/") ? name : "", *file ? "/" : "", file);
}

static int set(const char *name, const char *file, const char *text, char *detail)
{
	char path[PATH_BYTES];
	int err;

	path_of(path, name, file);
	if (!write_small_file(path, text))
		return 0;
	err = errno;
	snprintf(detail, CGROUP_DETAIL_BYTES, "%s", file);
	return err;
}

void cgroup_enable(void)
{
	// One after the other: a kernel without one of them has the other.
	write_small_file(ROOT "/cgroup.subtree_control", "+cpu");
	write_small_file(ROOT "/cgroup.subtree_control", "+cpuset");
}

int cgroup_add(const struct plan_op *op, char *detail)
{
	char path[PATH_BYTES];
	int err = 0;

	path_of(path, op->cgroup, "");
	if (mkdir(path, 0755)) {
		err = errno;
		snprintf(detail, CGROUP_DETAIL_BYTES, "mkdir");
		return err;
	}
	if (op->has_cpus)
		err = cgroup_set_cpus(op, detail);
	if (!err && op->weight)
		err = cgroup_set_weight(op, detail);
	if (!err && op->max_us)
		err = cgroup_set_max(op, detail);
	return err;
}

int cgroup_remove(const char *name, char *detail)
{
	char path[PATH_BYTES];
	int err;

	path_of(path, name, "");
	if (!rmdir(path))
		return 0;
	err = errno;
	snprintf(detail, CGROUP_DETAIL_BYTES, "%s", err == EBUSY ? "tasks are in it" : "rmdir");
	return err;
}

int cgroup_set_cpus(const struct plan_op *op, char *detail)
{
	char list[LIST_BYTES] = "\n"; // none of its own: those of the root
	size_t used = 0;

	for (int cpu = 0; op->has_cpus && cpu < CPU_SETSIZE && used < sizeof(list) - 8; cpu++)
		if (CPU_ISSET(cpu, &op->cpus))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%d", used ? "," : "",
						 cpu);
	return set(op->cgroup, "cpuset.cpus", list, detail);
}

int cgroup_set_weight(const struct plan_op *op, char *detail)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", op->weight);
	return set(op->cgroup, "cpu.weight", text, detail);
}

int cgroup_set_max(const struct plan_op *op, char *detail)
{
	unsigned int period_us = op->period_us ? op->period_us : DEFAULT_PERIOD_US;
	char text[40];

	if (op->max_us)
		snprintf(text, sizeof(text), "%u %u", op->max_us, period_us);
	else
		snprintf(text, sizeof(text), "max %u", period_us);
	return set(op->cgroup, "cpu.max", text, detail);
}

int cgroup_freeze(const char *name, bool freeze, char *detail)
{
	const char *wanted = freeze ? "frozen 1" : "frozen 0";
	uint64_t deadline_ns = now_ns() + FREEZE_WITHIN_NS;
	char path[PATH_BYTES], text[128];
	int fd, err = set(name, "cgroup.freeze", freeze ? "1" : "0", detail);

	if (err)
		return err;
	path_of(path, name, "cgroup.events");
	snprintf(detail, CGROUP_DETAIL_BYTES, "cgroup.events");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	for (;;) {
		struct pollfd changed = { .fd = fd, .events = POLLPRI }; // the kernel notes each change
		uint64_t now = now_ns();
		ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

		if (n < 0)
			return errno;
		text[n] = '\0';
		if (strstr(text, wanted)) {
			detail[0] = '\0';
			return 0;
		}
		if (now >= deadline_ns)
			return ETIMEDOUT;
		poll(&changed, 1, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1);
	}
}

int cgroup_move(const char *name, pid_t pid, char *detail)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	return set(name, "cgroup.procs", text, detail);
}
