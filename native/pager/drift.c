// SPDX-License-Identifier: MIT
//
// What somebody else may have changed since the last look: who is registered, who is traced, who is still there.
//
// A debugger is no rival: faults go to the userfaultfd whether somebody traces the process or not. But it sees EIO in
// place of a page that is missing, so that it is there is said.
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "ktstr_uffd.h"
#include "maps.h"
#include "pager.h"

static FILE *open_of(pid_t target, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", target, name);
	return fopen(path, "re");
}

// True also when nothing can be read: what is not known is no drift.
static bool still_registered(const struct region *region)
{
	FILE *smaps = open_of(region->target, "smaps");
	struct registered registered;
	char *line = NULL;
	size_t room = 0;
	bool seen = false;

	if (!smaps)
		return true;
	registered_begin(&registered, region->base, region->bytes);
	while (!registered_wholly(&registered) && getline(&line, &room, smaps) > 0) {
		registered_line(&registered, line);
		seen = true;
	}
	free(line);
	fclose(smaps);
	return !seen || registered_wholly(&registered);
}

static long tracer_of(pid_t target)
{
	FILE *status = open_of(target, "status");
	long tracer = -1;
	char *line = NULL;
	size_t room = 0;

	while (status && tracer < 0 && getline(&line, &room, status) > 0)
		tracer = tracer_line(line);
	free(line);
	if (status)
		fclose(status);
	return tracer;
}

static void restore(struct pager *pager, struct region *region)
{
	// A copy of the userfaultfd registers memory of the process that made it, from anywhere.
	if (!ktp_watch(region->uffd, region->base, region->bytes)) {
		region->lost = false;
		pager->shared->reinstalls++;
		tell(pager, KTP_REINSTALLED, region->base, NULL);
	} else if (!region->lost) {
		region->lost = true;
		pager->shared->gone_regions++;
		tell(pager, KTP_REGION_LOST, region->base, strerror(errno));
	}
}

void leave_region(struct pager *pager, struct region *region)
{
	tell(pager, KTP_TARGET_GONE, (uint64_t)region->target, NULL);
	close(region->uffd);
	close(region->target_fd);
	region->uffd = region->target_fd = -1;
}

void check_drift(struct pager *pager)
{
	uint64_t traced = 0;

	for (size_t i = 0; i < pager->nr_regions; i++) {
		struct region *region = &pager->regions[i];
		long tracer;

		if (region->uffd < 0)
			continue;
		if (!still_registered(region))
			restore(pager, region);
		tracer = tracer_of(region->target);
		if (tracer > 0)
			traced = (uint64_t)tracer;
	}
	if (traced != pager->shared->tracer)
		tell(pager, KTP_TRACED, traced, NULL);
	pager->shared->tracer = traced;
	pager->shared->drift_checks++;
}

void give_up_regions(struct pager *pager)
{
	for (size_t i = 0; !pager->shared->left && i < pager->nr_regions; i++) {
		const struct region *region = &pager->regions[i];
		struct uffdio_range range = { region->base, region->bytes };

		if (region->uffd >= 0)
			ioctl(region->uffd, UFFDIO_UNREGISTER, &range);
	}
}
