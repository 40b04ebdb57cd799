// SPDX-License-Identifier: MIT
#include "port.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../frames/ktstr_frames.h"
#include "util.h"

#define PORTS_DIR "/sys/class/virtio-ports"
#define WRITE_BYTES 32768 // what the kernel takes in one write
#define RETRY_NS (100 * NSEC_PER_MSEC)

static int fd = -1;
static uint64_t hung_up_until_ns; // 0 while the host's end is open
static uint8_t queue[PORT_QUEUE_BYTES];
static size_t queue_start, queue_used; // a ring
static uint64_t dropped_frames, dropped_bytes;

static struct ktf_assembler *assembler;
static uint8_t received[PORT_RECEIVE_MAX];
static size_t received_at, received_bytes;
static uint64_t damaged_frames;

bool port_find(const char *wanted, char *path, size_t bytes)
{
	DIR *dir = opendir(PORTS_DIR);
	struct dirent *entry;
	bool found = false;

	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		char name_path[sizeof(PORTS_DIR) + 256 + 8], name[32];

		snprintf(name_path, sizeof(name_path), PORTS_DIR "/%s/name", entry->d_name);
		if (read_small_file(name_path, name, sizeof(name)) < 0 || strcmp(name, wanted))
			continue;
		snprintf(path, bytes, "/dev/%.64s", entry->d_name);
		found = true;
	}
	closedir(dir);
	return found;
}

int port_open(uint64_t deadline_ns)
{
	const struct timespec pause = { .tv_nsec = 2 * NSEC_PER_MSEC };
	char path[80];

	assembler = ktf_assembler_create(PORT_RECEIVE_MAX);
	if (!assembler)
		return -1;
	// The kernel adds ports from a worker thread, some time after the device was found.
	while (now_ns() < deadline_ns) {
		if (port_find(PORT_NAME, path, sizeof(path))) {
			fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			if (fd >= 0)
				return 0;
		}
		nanosleep(&pause, NULL);
	}
	return -1;
}

int port_fd(void)
{
	return fd;
}

bool port_connected(void)
{
	if (hung_up_until_ns && now_ns() >= hung_up_until_ns)
		hung_up_until_ns = 0; // look again
	return !hung_up_until_ns;
}

void port_note_hangup(void)
{
	hung_up_until_ns = now_ns() + RETRY_NS;
}

bool port_pending(void)
{
	return queue_used > 0;
}

static void queue_put(const uint8_t *data, size_t bytes)
{
	size_t end = (queue_start + queue_used) % PORT_QUEUE_BYTES;
	size_t first = PORT_QUEUE_BYTES - end < bytes ? PORT_QUEUE_BYTES - end : bytes;

	memcpy(queue + end, data, first);
	memcpy(queue, data + first, bytes - first);
	queue_used += bytes;
}

static bool can_be_missed(uint32_t msg_type)
{
	return msg_type == KTF_STDOUT || msg_type == KTF_STDERR || msg_type == KTF_SCHED_LOG ||
	       msg_type == KTF_DMESG || msg_type == KTF_WORKER_REPORT || msg_type == KTF_BEATS;
}

void port_send(uint32_t msg_type, const void *payload, uint32_t bytes)
{
	size_t limit = can_be_missed(msg_type) ? PORT_TEXT_BYTES : PORT_QUEUE_BYTES;
	uint8_t header[KTF_HEADER_SIZE];

	if (queue_used + sizeof(header) + bytes > limit)
		port_flush();
	if (queue_used + sizeof(header) + bytes > limit) {
		dropped_frames++;
		dropped_bytes += bytes;
		return;
	}
	ktf_encode_header(header, msg_type, payload, bytes);
	queue_put(header, sizeof(header));
	queue_put(payload, bytes);
}

static void report_drops(void)
{
	char text[128];
	int n;

	if (!dropped_frames || queue_used > PORT_TEXT_BYTES / 2)
		return;
	n = snprintf(text, sizeof(text),
		     "ktstr-agent: %llu frames (%llu bytes) dropped: the host did not read the port\n",
		     (unsigned long long)dropped_frames, (unsigned long long)dropped_bytes);
	dropped_frames = 0;
	dropped_bytes = 0;
	port_send(KTF_STDERR, text, (uint32_t)n);
}

void port_flush(void)
{
	while (queue_used && port_connected()) {
		size_t run = PORT_QUEUE_BYTES - queue_start < queue_used ? PORT_QUEUE_BYTES - queue_start
									 : queue_used;
		ssize_t n = write(fd, queue + queue_start, run < WRITE_BYTES ? run : WRITE_BYTES);

		if (n <= 0)
			break; // full: POLLOUT comes when there is room again
		queue_start = (queue_start + (size_t)n) % PORT_QUEUE_BYTES;
		queue_used -= (size_t)n;
		report_drops();
	}
}

bool port_receive(uint32_t *msg_type, const uint8_t **payload, uint32_t *bytes)
{
	for (;;) {
		struct ktf_frame frame;
		size_t used = 0;
		bool more;
		const uint8_t *data = received + received_at;
		int n = ktf_assembler_feed(assembler, data, received_bytes - received_at, &used, &frame, 1,
					   &more);

		if (n < 0)
			return false;
		received_at += used;
		if (n == 1) {
			if (!(frame.flags & KTF_CRC_OK)) {
				damaged_frames++;
				continue;
			}
			*msg_type = frame.msg_type;
			*payload = (frame.flags & KTF_IN_TAIL ? ktf_assembler_tail(assembler) : data) +
				   frame.offset;
			*bytes = frame.length;
			return true;
		}
		if (more)
			continue;
		received_at = 0;
		received_bytes = 0;
		ssize_t got = read(fd, received, sizeof(received));
		if (got <= 0)
			return false;
		received_bytes = (size_t)got;
	}
}

uint64_t port_damaged(void)
{
	return damaged_frames;
}
