// SPDX-License-Identifier: MIT
/*
 * Puts the kernel's build configuration where libbpf looks for it: /boot/config-RELEASE.
 *
 * The host gives what it has at CONFIG_PATH. CONFIG_HZ is added when it is not among it: BPF schedulers ask for
 * it more than for anything else, and the resolution of the coarse clock is exactly one tick (kernel:
 * hrtimer_get_res, KTIME_LOW_RES), so the running kernel knows it even where nobody kept its .config.
 */
#include "kconfig.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_PATH "/ktstr/config"
#define NSEC_PER_SEC 1000000000L

static bool has_hz(void)
{
	char line[256];
	bool found = false;
	FILE *config = fopen(CONFIG_PATH, "re");

	while (config && !found && fgets(line, sizeof(line), config))
		found = !strncmp(line, "CONFIG_HZ=", 10);
	if (config)
		fclose(config);
	return found;
}

static void add_hz(void)
{
	struct timespec tick;
	FILE *config;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) || tick.tv_sec || tick.tv_nsec < 1)
		return;
	config = fopen(CONFIG_PATH, "ae");
	if (!config)
		return;
	fprintf(config, "CONFIG_HZ=%ld\n", (NSEC_PER_SEC + tick.tv_nsec / 2) / tick.tv_nsec);
	fclose(config);
}

void kconfig_place(void)
{
	char path[128];
	struct utsname name;

	if (uname(&name))
		return;
	if (!has_hz())
		add_hz();
	mkdir("/boot", 0755);
	snprintf(path, sizeof(path), "/boot/config-%s", name.release);
	if (symlink(CONFIG_PATH, path))
		perror(path);
}
