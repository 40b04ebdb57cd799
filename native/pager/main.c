// SPDX-License-Identifier: MIT
//
//	ktstr-pager CONTROL HANDOFF SHARED PAGES POLL_MS DIGESTS PREWARM PREFETCH store|raw|socket FD[:PATH]
//
// All but the last two are descriptors or numbers; a descriptor of -1 is one that is not there. PREWARM and PREFETCH are
// files of uint64_t, numbers of pages. The pager ends when it is told to, and when the control socket is closed.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "pager.h"

#define ARGUMENTS 11
#define PRIORITY (-10)
#define SOON_NS 10000000u
#define MAX_PAGES (1ull << 32) // of an image: 16 TiB

static struct pager pager;

__attribute__((noreturn)) static void fail(const char *what, const char *why)
{
	fprintf(stderr, "ktstr-pager: %s: %s\n", what, why);
	exit(2);
}

static const void *map_list(const char *word, const char *what, uint64_t *bytes)
{
	int fd = atoi(word);
	struct stat stat;
	void *at;

	*bytes = 0;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &stat))
		fail(what, strerror(errno));
	if (!stat.st_size)
		return NULL;
	at = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (at == MAP_FAILED)
		fail(what, strerror(errno));
	*bytes = (uint64_t)stat.st_size;
	return at;
}

static void open_shared(const char *word, uint64_t pages)
{
	size_t bytes = sizeof(*pager.shared) + pages * sizeof(*pager.order) + pages / 8 + 1;
	int fd = atoi(word);
	struct stat stat;

	if (fstat(fd, &stat) || (uint64_t)stat.st_size < bytes)
		fail("the shared page", "it is too small");
	pager.shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (pager.shared == MAP_FAILED)
		fail("the shared page", strerror(errno));
	pager.order = (uint32_t *)(pager.shared + 1);
	pager.shared->pages = pages;
	pager.served = (uint8_t *)(pager.order + pages);
	pager.known_bad = calloc(pages / 8 + 1, 1);
	if (!pager.known_bad)
		fail("the pages", "no memory");
}

static void open_source(const char *kind, const char *where, const uint8_t *digests, uint64_t digest_bytes)
{
	struct source *source = &pager.source;
	const char *path = strchr(where, ':');

	source->nr_pages = pager.shared->pages;
	source->deadline_ms = pager.poll_ms;
	source->digests = digests;
	source->kind = !strcmp(kind, "store") ? SOURCE_STORE
		       : !strcmp(kind, "raw") ? SOURCE_RAW
					      : SOURCE_SOCKET;
	if (digests && digest_bytes != source->nr_pages * DIGEST_BYTES)
		fail("the digests", "they are not those of so many pages");
	if (source->kind == SOURCE_SOCKET && !path)
		fail("the source of pages", "its socket has no path");
	if (!source_open(source, atoi(where), path ? path + 1 : NULL))
		fail("the source of pages", source->why);
	for (uint64_t page = 0; page < source->nr_pages; page++)
		pager.shared->left += !source_is_zeros(source, page);
}

static void set_up(char **argv)
{
	uint64_t pages = strtoull(argv[4], NULL, 10), bytes;
	const uint8_t *digests;

	if (!pages || pages > MAX_PAGES)
		fail("the image", "it has no pages, or too many");
	pager.control = atoi(argv[1]);
	pager.handoff = atoi(argv[2]);
	pager.poll_ms = atoi(argv[5]);
	if (pager.poll_ms < 1)
		fail("the interval", "it is not a number of milliseconds");
	open_shared(argv[3], pages);
	pager.prewarm = map_list(argv[7], "the list to prewarm", &bytes);
	pager.nr_prewarm = bytes / sizeof(*pager.prewarm);
	pager.prefetch = map_list(argv[8], "the list to prefetch", &bytes);
	pager.nr_prefetch = bytes / sizeof(*pager.prefetch);
	digests = map_list(argv[6], "the digests", &bytes);
	open_source(argv[9], argv[10], digests, bytes);
	setsockopt(pager.control, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int));
	if (pager.handoff >= 0)
		setsockopt(pager.handoff, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int));
	pager.shared->layout = KTP_LAYOUT;
	__atomic_store_n(&pager.shared->magic, KTP_MAGIC, __ATOMIC_RELEASE);
}

static int wait_ms(uint64_t next_check_ns)
{
	uint64_t now = now_ns();
	int ms = now < next_check_ns ? (int)((next_check_ns - now) / 1000000u + 1) : 0;

	if (has_work(&pager))
		return 0;
	// Whoever waits for a source that is away is tried again often, for others are about to look, too.
	return pager.nr_parked && ms > 20 ? 20 : ms;
}

// Look for drift when it is time, soon when there is a reason. Returns when the next time is.
static uint64_t look(uint64_t next_check_ns)
{
	uint64_t now = now_ns();

	if (pager.drift_due && now + SOON_NS < next_check_ns)
		next_check_ns = now + SOON_NS;
	pager.drift_due = false;
	if (now < next_check_ns)
		return next_check_ns;
	check_drift(&pager);
	return now + (uint64_t)pager.poll_ms * 1000000u;
}

static bool serve_ready(const struct pollfd *ready, size_t nr_regions)
{
	for (size_t i = 0; i < nr_regions; i++) {
		if (ready[2 + 2 * i].revents & POLLIN)
			read_faults(&pager, ready[2 + 2 * i].fd);
	}
	for (size_t i = 0; i < nr_regions; i++) {
		if (ready[3 + 2 * i].revents)
			leave_region(&pager, &pager.regions[i]);
	}
	if (ready[1].revents && !take_request(&pager, pager.handoff))
		pager.handoff = -1; // QEMU has closed it, or is gone; the rest still needs us
	return !ready[0].revents || take_request(&pager, pager.control);
}

int main(int argc, char **argv)
{
	struct pollfd ready[2 + 2 * KTP_MAX_REGIONS];
	uint64_t next_check_ns;
	bool goes_on = true;

	if (argc != ARGUMENTS)
		fail("usage", "see native/pager/main.c");
	// A guest waits for each page. Where it is not permitted, it is as it was.
	setpriority(PRIO_PROCESS, 0, PRIORITY);
	set_up(argv);
	next_check_ns = now_ns() + (uint64_t)pager.poll_ms * 1000000u;
	while (goes_on) {
		size_t nr = pager.nr_regions;

		ready[0] = (struct pollfd){ .fd = pager.control, .events = POLLIN };
		ready[1] = (struct pollfd){ .fd = pager.handoff, .events = POLLIN };
		for (size_t i = 0; i < nr; i++) {
			ready[2 + 2 * i] = (struct pollfd){ .fd = pager.regions[i].uffd, .events = POLLIN };
			ready[3 + 2 * i] =
				(struct pollfd){ .fd = pager.regions[i].target_fd, .events = POLLIN };
		}
		if (poll(ready, 2 + 2 * nr, wait_ms(next_check_ns)) < 0 && errno != EINTR)
			fail("poll", strerror(errno));
		goes_on = serve_ready(ready, nr);
		if (pager.nr_parked)
			serve_parked(&pager);
		if (has_work(&pager))
			work(&pager);
		next_check_ns = look(next_check_ns);
		check_resident(&pager);
	}
	give_up_regions(&pager);
	return 0;
}
