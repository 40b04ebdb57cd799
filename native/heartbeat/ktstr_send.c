// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "ktstr_send.h"

#include <errno.h>
#include <sys/socket.h>
#include <time.h>

#define NSEC_PER_SEC 1000000000ULL

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	const struct timespec ts = { (time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static void send_one(int fd, struct ktv_beat *beat, int flags, struct ktr_sent *ret)
{
	uint8_t frame[KTV_FRAME_SIZE];

	ktv_encode(beat, frame);
	if (send(fd, frame, sizeof(frame), flags) == (ssize_t)sizeof(frame)) {
		ret->sent++;
		ret->last_nonce = beat->nonce++;
	} else if (errno == EAGAIN || errno == ENOBUFS) {
		ret->refused++;
	} else {
		ret->failed++;
		ret->error = errno;
	}
}

void ktr_send_beats(int fd, uint32_t pid, uint64_t period_ns, uint32_t burst, uint64_t duration_ns, bool wait,
		    struct ktr_sent *ret)
{
	const uint64_t start_ns = now_ns();
	const int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);
	struct ktv_beat beat = { .status = KTV_OK, .pid = pid, .nonce = 1 };
	uint64_t due_ns = start_ns, now = start_ns;

	*ret = (struct ktr_sent){ 0 };
	while (now - start_ns < duration_ns) {
		for (uint32_t i = 0; i < burst; i++) {
			beat.timestamp = now - start_ns;
			send_one(fd, &beat, flags, ret);
		}
		due_ns += period_ns;
		now = now_ns();
		if (period_ns && due_ns > now) {
			sleep_until(due_ns);
			now = now_ns();
		}
	}
}
