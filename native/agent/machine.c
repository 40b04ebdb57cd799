// SPDX-License-Identifier: MIT
#include "machine.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "port.h"
#include "util.h"

#define DMESG_TAIL_BYTES 16384
#define KLOG_READ_ALL 3
#define FIFO_MAX 99
#define POLICY_DEADLINE 6
#define FLAG_RESET_ON_FORK 1
#define SHARE_PERIOD_NS (20 * NSEC_PER_MSEC)
// It is sorted by address; older kernels begin with some thousand of the CPUs' areas.
#define KALLSYMS_LINES 16384

uint64_t machine_kernel_text(void)
{
	char line[256];
	unsigned long long address;
	uint64_t text = 0;
	FILE *symbols = fopen("/proc/kallsyms", "re");

	if (!symbols)
		return 0;
	for (int i = 0; i < KALLSYMS_LINES && !text && fgets(line, sizeof(line), symbols); i++)
		if (sscanf(line, "%llx %*c _text\n", &address) == 1 && strstr(line, " _text\n"))
			text = address;
	fclose(symbols);
	return text;
}

// The mounts; those that a kernel may be built without are optional.
static const struct {
	const char *type, *target;
	bool required;
} mounts[] = {
	{ "proc", "/proc", true },
	{ "sysfs", "/sys", true },
	{ "devtmpfs", "/dev", true },
	{ "tmpfs", "/tmp", true },
	{ "tmpfs", "/run", true },
	{ "cgroup2", "/sys/fs/cgroup", false },
	{ "bpf", "/sys/fs/bpf", false },
	{ "debugfs", "/sys/kernel/debug", false },
	{ "tracefs", "/sys/kernel/tracing", false },
};

int machine_mount(char *problem, size_t bytes)
{
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].target, 0755); // sysfs refuses: its directories are there already
		if (!mount(mounts[i].type, mounts[i].target, mounts[i].type, MS_NOSUID, NULL) ||
		    errno == EBUSY)
			continue;
		if (mounts[i].required) {
			snprintf(problem, bytes, "mount %s: %s", mounts[i].target, strerror(errno));
			return -1;
		}
	}
	mkdir("/var", 0755);
	if (symlink("/run", "/var/run") < 0 && errno != EEXIST) { // where scx programs put their sockets
		snprintf(problem, bytes, "link /var/run: %s", strerror(errno));
		return -1;
	}
	mkdir("/dev/shm", 01777);
	return 0;
}

void machine_set_fifo(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	// Children start as ordinary tasks again: the scheduler under test is to see them.
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
}

// The C library's headers have neither the call nor its argument.
struct deadline_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};

void machine_set_share(void)
{
	const struct deadline_attr attr = {
		.size = sizeof(attr),
		.policy = POLICY_DEADLINE,
		.flags = FLAG_RESET_ON_FORK,
		.runtime_ns = SHARE_PERIOD_NS / 4 * 3,
		.deadline_ns = SHARE_PERIOD_NS,
		.period_ns = SHARE_PERIOD_NS,
	};

	syscall(SYS_sched_setattr, 0, &attr, 0u); // where it is refused, an ordinary task has to do
}

void machine_send_dmesg(void)
{
	static char text[DMESG_TAIL_BYTES];
	int n = klogctl(KLOG_READ_ALL, text, sizeof(text));

	if (n > 0)
		port_send(KTF_DMESG, text, (uint32_t)n);
}

void machine_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;) // a machine without power control: nothing is left to do
		pause();
}

// Spin on every CPU above every other task, so that nothing of this machine answers any more.
static void hang(void)
{
	struct sched_param param = { .sched_priority = FIFO_MAX };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	write_small_file("/proc/sys/kernel/sched_rt_runtime_us", "-1");
	sched_setscheduler(0, SCHED_FIFO, &param);
	for (long i = 1; i < cpus; i++) {
		if (!fork())
			break;
	}
	for (;;)
		;
}

void machine_fail(const char *how)
{
	if (!strcmp(how, "panic"))
		write_small_file("/proc/sysrq-trigger", "c");
	else if (!strcmp(how, "hang"))
		hang();
	else if (!strcmp(how, "reboot"))
		reboot(RB_AUTOBOOT);
}
