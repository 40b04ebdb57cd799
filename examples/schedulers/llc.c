// SPDX-License-Identifier: MIT
/* Loads llc.bpf.o with the last-level cache of every CPU, read from sysfs, and stays until it is asked to end. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "program.h"

#define CPUS_MAX 256
#define LLCS_MAX 32
#define LLC_INDEX 3 // of the caches of a CPU: 0 and 1 are L1, 2 is L2

PROGRAM_OBJECT(OBJECT);

/* The kernel's number of the cache of a CPU. -1 when there is no such CPU or the kernel does not know. */
static int read_llc(int cpu)
{
	char path[96], text[16] = "";
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cache/index%d/id", cpu, LLC_INDEX);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? atoi(text) : -1;
}

/* Number the caches from 0. Returns how many there are; one for all when the kernel does not know. */
static unsigned int number_llcs(unsigned int *llc_of)
{
	int ids[LLCS_MAX];
	unsigned int nr = 0;

	for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
		int id = read_llc(cpu);
		unsigned int llc = 0;

		if (id < 0)
			continue;
		while (llc < nr && ids[llc] != id)
			llc++;
		if (llc == LLCS_MAX)
			continue; // more than there are queues for: the first takes the rest
		if (llc == nr)
			ids[nr++] = id;
		llc_of[cpu] = llc;
	}
	return nr ? nr : 1;
}

int main(void)
{
	struct bpf_object *object;
	unsigned int *llc_of, *nr_llcs;

	program_begin();
	object = program_open("llc");
	if (!object)
		return 2;
	llc_of = program_constant(object, "llc_of");
	nr_llcs = program_constant(object, "nr_llcs");
	if (!llc_of || !nr_llcs)
		return 2;
	*nr_llcs = number_llcs(llc_of);
	printf("%u last-level caches\n", *nr_llcs);
	if (!program_attach(object))
		return 2;
	while (!asked_to_end && !program_exit_record(object).kind)
		usleep(100000);
	return 0;
}
