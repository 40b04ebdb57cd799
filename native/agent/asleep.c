// SPDX-License-Identifier: MIT
#include "asleep.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

#define LOOK_EVERY_NS (500 * NSEC_PER_MSEC)
#define BUSY_PART 4 // of the time between two looks; a program that polls uses less
#define STAT_BYTES 512

// One process: its CPU time, and whether it wants a CPU now or waits in the kernel for what cannot be interrupted, as a
// program does that attaches. One of another session, or that is gone, adds nothing.
static void look_at(const char *pid, pid_t session, uint64_t *cpu_ns, bool *wants)
{
	char path[32], text[STAT_BYTES], *fields, state;
	unsigned long long user, system;
	int of;

	snprintf(path, sizeof(path), "/proc/%.10s/stat", pid);
	if (read_small_file(path, text, sizeof(text)) < 0)
		return;
	fields = strrchr(text, ')'); // its name may hold anything
	if (!fields || sscanf(fields + 1, " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &state, &of,
			      &user, &system) != 4)
		return;
	if (of != session)
		return;
	*cpu_ns += (user + system) * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
	*wants |= state == 'R' || state == 'D';
}

static uint64_t look_at_all(pid_t session, bool *wants)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	uint64_t cpu_ns = 0;

	*wants = false;
	while (proc && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			look_at(entry->d_name, session, &cpu_ns, wants);
	if (proc)
		closedir(proc);
	return cpu_ns;
}

void asleep_begin(struct asleep *asleep, pid_t session, uint64_t now_ns)
{
	bool wants;

	*asleep = (struct asleep){ .session = session, .looked_ns = now_ns };
	asleep->cpu_ns = look_at_all(session, &wants);
}

uint64_t asleep_look(struct asleep *asleep, uint64_t now_ns)
{
	uint64_t spent_ns = now_ns - asleep->looked_ns, cpu_ns, used_ns;
	bool wants;

	if (spent_ns < LOOK_EVERY_NS)
		return asleep->for_ns;
	cpu_ns = look_at_all(asleep->session, &wants);
	// The time of a process that has ended meanwhile is gone from the sum.
	used_ns = cpu_ns > asleep->cpu_ns ? cpu_ns - asleep->cpu_ns : 0;
	if (!wants && used_ns < spent_ns / BUSY_PART)
		asleep->for_ns += spent_ns;
	asleep->looked_ns = now_ns;
	asleep->cpu_ns = cpu_ns;
	return asleep->for_ns;
}
