// SPDX-License-Identifier: MIT
#include "ktstr_uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ktstr_page.h"

// The system call needs a capability or the sysctl; the device needs only its permissions.
static int make(void)
{
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), device;

	if (uffd >= 0 || errno != EPERM)
		return uffd;
	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0) {
		errno = EPERM;
		return -1;
	}
	uffd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	close(device);
	return uffd;
}

int ktp_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_EVENT_REMOVE |
			    UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP,
	};
	int uffd = make(), error;

	if (uffd < 0 || !ioctl(uffd, UFFDIO_API, &api))
		return uffd;
	error = errno;
	close(uffd);
	errno = error;
	return -1;
}

int ktp_watch(int uffd, uint64_t base, uint64_t bytes)
{
	struct uffdio_register range = { .range = { base, bytes }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &range);
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t ktp_touch(const void *base, const uint32_t *pages, size_t count, uint64_t *ns)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t start = clock_ns();

		sum += ((const volatile uint8_t *)base)[(uint64_t)pages[i] * KTP_PAGE_BYTES];
		if (ns)
			ns[i] = clock_ns() - start;
	}
	return sum;
}

uint64_t ktp_serve_bare(int uffd, uint64_t base, int image, int stop)
{
	struct pollfd wait[2] = { { .fd = uffd, .events = POLLIN }, { .fd = stop, .events = POLLIN } };
	static uint8_t page[KTP_PAGE_BYTES];
	struct uffd_msg message;
	uint64_t served = 0;

	while (poll(wait, 2, -1) > 0 && !wait[1].revents) {
		struct uffdio_copy copy = { .src = (uint64_t)page, .len = sizeof(page) };

		if (read(uffd, &message, sizeof(message)) != sizeof(message) ||
		    message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		copy.dst = message.arg.pagefault.address & ~(uint64_t)(sizeof(page) - 1);
		if (pread(image, page, sizeof(page), (off_t)(copy.dst - base)) == sizeof(page) &&
		    !ioctl(uffd, UFFDIO_COPY, &copy))
			served++;
	}
	return served;
}
