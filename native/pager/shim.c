// SPDX-License-Identifier: MIT
//
// Loaded into QEMU before its libraries: when it maps the guest's RAM, the pager is told and given its userfaultfd.
//
// RAM is known by the file: KTSTR_PAGER_RAM names the descriptors of the RAM files, comma-separated, in the order of
// the image. KTSTR_PAGER_FD is our end of the pager's socket. QEMU keeps a copy of the userfaultfd: should the pager
// die, whoever needs a page waits for it until QEMU is killed, instead of going on with a page of zeros.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ktstr_page.h"
#include "ktstr_uffd.h"

static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

__attribute__((noreturn)) static void give_up(const char *what)
{
	fprintf(stderr, "ktstr-pager: %s: %m\n", what);
	_exit(1);
}

static void tell(int link, int uffd, void *base, size_t bytes, uint64_t offset)
{
	struct ktp_message message = {
		.kind = KTP_REGISTER,
		.a = (uint64_t)base,
		.b = bytes,
		.c = offset,
		.d = KTP_PAGE_BYTES,
	};
	struct iovec body = { &message, sizeof(message) };
	char control[CMSG_SPACE(sizeof(uffd))] = { 0 };
	struct msghdr header = {
		.msg_iov = &body,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(uffd));
	memcpy(CMSG_DATA(rights), &uffd, sizeof(uffd));
	if (sendmsg(link, &header, MSG_NOSIGNAL) < 0 || recv(link, &message, sizeof(message), 0) <= 0)
		give_up("the pager does not answer");
	if (message.kind != KTP_DONE) {
		message.text[sizeof(message.text) - 1] = 0;
		fprintf(stderr, "ktstr-pager: refused: %s\n", message.text);
		_exit(1);
	}
}

// Where a file begins in the image; UINT64_MAX when it is no RAM file.
static uint64_t offset_of(int fd)
{
	const char *at = getenv("KTSTR_PAGER_RAM");
	struct stat mapped, ram;
	uint64_t offset = 0;

	if (!at || fd < 0 || fstat(fd, &mapped))
		return UINT64_MAX;
	for (;;) {
		char *end;
		int ram_fd = (int)strtol(at, &end, 10);

		if (end == at || fstat(ram_fd, &ram))
			return UINT64_MAX;
		if (ram.st_dev == mapped.st_dev && ram.st_ino == mapped.st_ino)
			return offset;
		offset += (uint64_t)ram.st_size;
		if (*end != ',')
			return UINT64_MAX;
		at = end + 1;
	}
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	uint64_t image;
	void *base;
	int uffd;

	if (!real_mmap)
		real_mmap = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
	base = real_mmap(at, bytes, prot, flags, fd, offset);
	if (base == MAP_FAILED || !(flags & MAP_SHARED))
		return base;
	image = offset_of(fd);
	if (image == UINT64_MAX)
		return base;
	uffd = ktp_open();
	if (uffd < 0 || ktp_watch(uffd, (uint64_t)base, bytes))
		give_up("userfaultfd");
	tell(atoi(getenv("KTSTR_PAGER_FD") ?: "-1"), uffd, base, bytes, image + (uint64_t)offset);
	return base;
}

void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	return mmap(at, bytes, prot, flags, fd, offset);
}
