// SPDX-License-Identifier: MIT
#include "saved.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "port.h"
#include "unpack.h"
#include "util.h"
#include "work.h"

#define HERE "booted\n"
#define SEED " seed="
#define LINE_BYTES 160

// What is the same in every guest that goes on from one boot, and should not be: the time of day (0 in a run with a
// seed, whose clock is the guest's own), random numbers, and the seed of a run that has one.
static void begin_this_run(char *line)
{
	char *rest, *number;
	uint64_t wall_ns = strtoull(line, &rest, 10);
	struct timespec now = { (time_t)(wall_ns / NSEC_PER_SEC), (long)(wall_ns % NSEC_PER_SEC) };
	int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);

	if (wall_ns)
		clock_settime(CLOCK_REALTIME, &now);
	number = strstr(rest, SEED);
	if (number)
		work_take_seed(strtoull(number + strlen(SEED), NULL, 10));
	if (fd < 0)
		return;
	if (write(fd, rest, strlen(rest)) > 0)
		ioctl(fd, RNDRESEEDCRNG);
	close(fd);
}

// Nothing else goes on yet, so this may wait outside of pump(). A host that dies takes the machine with it.
static int wait_for_host(int fd, char line[LINE_BYTES])
{
	size_t length = 0;
	ssize_t n;

	if (write(fd, HERE, sizeof(HERE) - 1) != sizeof(HERE) - 1)
		return -1;
	while (length < LINE_BYTES - 1 && !memchr(line, '\n', length)) {
		n = read(fd, line + length, LINE_BYTES - 1 - length);
		if (n <= 0)
			return -1;
		length += (size_t)n;
	}
	line[length] = '\0';
	return 0;
}

int saved_boot(char *problem, size_t bytes)
{
	char path[80], line[LINE_BYTES];
	int fd, failed;

	if (!port_find(SAVED_PORT, path, sizeof(path)))
		return 0;
	fd = open(path, O_RDWR | O_CLOEXEC);
	failed = fd < 0 || wait_for_host(fd, line);
	if (failed)
		snprintf(problem, bytes, "%s: %s", path, errno ? strerror(errno) : "closed");
	if (fd >= 0)
		close(fd);
	if (failed)
		return -1;
	begin_this_run(line);
	return unpack_files(RUN_FILES, problem, bytes);
}
