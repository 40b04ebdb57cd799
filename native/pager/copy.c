// SPDX-License-Identifier: MIT
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "pager.h"

// Returns the error, or 0; adds what was done to `*done`.
static int copy_some(const struct region *region, uint64_t to, const uint8_t *from, uint64_t bytes,
		     uint64_t *done)
{
	struct uffdio_copy copy = { .dst = to, .src = (uint64_t)from, .len = bytes };
	struct uffdio_zeropage zeros = { .range = { to, bytes } };
	bool failed =
		from ? ioctl(region->uffd, UFFDIO_COPY, &copy) : ioctl(region->uffd, UFFDIO_ZEROPAGE, &zeros);
	int64_t copied = from ? copy.copy : zeros.zeropage;

	// When nothing was done the field holds the error again, or nothing at all.
	if (copied > 0)
		*done += (uint64_t)copied;
	return failed ? errno : 0;
}

enum copied copy_pages(struct pager *pager, struct region *region, uint64_t to, const uint8_t *from,
		       uint64_t bytes, uint64_t *done)
{
	*done = 0;
	for (;;) {
		uint64_t before = *done;
		int error = copy_some(region, to + *done, from ? from + *done : NULL, bytes - *done, done);

		if (*done == bytes)
			return COPIED;
		if (error == EAGAIN && *done > before) {
			pager->shared->retries++; // a part; the rest says why it was not done
			continue;
		}
		if (error == EEXIST) {
			wake(region, to + *done);
			return WAS_THERE;
		}
		if (error == EAGAIN) {
			pager->shared->retries++; // there is a message to read first
			return COPY_LATER;
		}
		// Nobody is there any more, or the memory is not registered: the next look will tell.
		pager->drift_due = true;
		return error == ENOMEM || error == ENOSPC ? COPY_LATER : COPY_FAILED;
	}
}

void wake(const struct region *region, uint64_t address)
{
	struct uffdio_range range = { address & ~(uint64_t)(KTP_PAGE_BYTES - 1), KTP_PAGE_BYTES };

	ioctl(region->uffd, UFFDIO_WAKE, &range);
}
