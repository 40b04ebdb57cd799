// SPDX-License-Identifier: MIT
#include "fwcfg.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORTS 0x510
#define PORTS_BYTES 12
#define PORT_DMA_HIGH 0x514
#define PORT_DMA_LOW 0x518
#define DIRECTORY 0x19 // key of the list of files
#define NAME_BYTES 56
#define PFN_MASK ((1ULL << 55) - 1)

enum { CONTROL_ERROR = 1, CONTROL_READ = 2, CONTROL_SELECT = 8 };

struct access { // big-endian
	uint32_t control, length;
	uint64_t address;
};

struct entry { // big-endian
	uint32_t size;
	uint16_t key, reserved;
	char name[NAME_BYTES];
};

// Each in a page of its own, so that it is in one piece in physical memory too.
static struct {
	struct access *access;
	uint8_t *piece;
	int pagemap;
	uint32_t select; // for the next read; 0 when the file is selected already
} fwcfg = { .pagemap = -1 };

static uint64_t physical(const void *page)
{
	uint64_t entry = 0;
	off_t at = (off_t)((uintptr_t)page / FWCFG_PIECE_BYTES * sizeof(entry));

	if (pread(fwcfg.pagemap, &entry, sizeof(entry), at) != (ssize_t)sizeof(entry))
		return 0;
	return (entry & PFN_MASK) * FWCFG_PIECE_BYTES;
}

static int prepare(char *problem, size_t bytes)
{
	void *pages = mmap(NULL, 2 * FWCFG_PIECE_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

	if (pages == MAP_FAILED) {
		snprintf(problem, bytes, "no memory to read files of the host: %s", strerror(errno));
		return -1;
	}
	fwcfg.access = pages;
	fwcfg.piece = (uint8_t *)pages + FWCFG_PIECE_BYTES;
	fwcfg.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fwcfg.pagemap < 0 || !physical(fwcfg.piece)) {
		snprintf(problem, bytes,
			 "the kernel does not say where a page is (CONFIG_PROC_PAGE_MONITOR)");
		return -1;
	}
	if (ioperm(PORTS, PORTS_BYTES, 1)) {
		snprintf(problem, bytes, "no access to the ports of fw_cfg (CONFIG_X86_IOPL_IOPERM): %s",
			 strerror(errno));
		return -1;
	}
	return 0;
}

void fwcfg_close(void)
{
	if (fwcfg.pagemap >= 0) {
		ioperm(PORTS, PORTS_BYTES, 0);
		close(fwcfg.pagemap);
	}
	if (fwcfg.access)
		munmap(fwcfg.access, 2 * FWCFG_PIECE_BYTES);
	memset(&fwcfg, 0, sizeof(fwcfg));
	fwcfg.pagemap = -1;
}

int fwcfg_read(void *to, uint32_t length, char *problem, size_t bytes)
{
	volatile struct access *access = fwcfg.access;
	uint64_t where = physical(fwcfg.access), target = physical(fwcfg.piece);

	if (length > FWCFG_PIECE_BYTES) {
		snprintf(problem, bytes, "a piece of %u bytes is too large", length);
		return -1;
	}
	access->length = htobe32(length);
	access->address = htobe64(target);
	access->control = htobe32(CONTROL_READ | fwcfg.select);
	fwcfg.select = 0;
	outl(htobe32((uint32_t)(where >> 32)), PORT_DMA_HIGH);
	outl(htobe32((uint32_t)where), PORT_DMA_LOW); // QEMU copies before this returns
	if (access->control || physical(fwcfg.access) != where || physical(fwcfg.piece) != target) {
		snprintf(problem, bytes, "fw_cfg did not deliver %u bytes (control %#x)", length,
			 be32toh(access->control));
		return -1;
	}
	memcpy(to, fwcfg.piece, length);
	return 0;
}

static void select_key(uint32_t key)
{
	fwcfg.select = key << 16 | CONTROL_SELECT;
}

long fwcfg_open(const char *name, char *problem, size_t bytes)
{
	struct entry entry;
	uint32_t count;

	if (prepare(problem, bytes))
		return -1;
	select_key(DIRECTORY);
	if (fwcfg_read(&count, sizeof(count), problem, bytes))
		return -1;
	for (count = be32toh(count); count; count--) {
		if (fwcfg_read(&entry, sizeof(entry), problem, bytes))
			return -1;
		if (strncmp(entry.name, name, NAME_BYTES))
			continue;
		select_key(be16toh(entry.key));
		return (long)be32toh(entry.size);
	}
	snprintf(problem, bytes, "QEMU has no file named %s", name);
	return -1;
}
