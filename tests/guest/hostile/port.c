// SPDX-License-Identifier: MIT
#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 32768 // what the kernel takes in one write

int port = -1;
uint64_t sent;
static uint64_t state = 88172645463325252ull;
static uint8_t noise[KTF_MAX_PAYLOAD];

uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void make_noise(void)
{
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(next() >> 32);
}

uint32_t any_type(void)
{
	return ktf_msg_types[next() % ktf_msg_type_count].value;
}

const uint8_t *any_noise(uint32_t bytes)
{
	return noise + next() % (sizeof(noise) - bytes + 1);
}

void find_port(void)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (; port < 0; nanosleep(&pause, NULL)) {
		DIR *dir = opendir("/sys/class/virtio-ports");
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			char path[320], name[32] = "";
			int fd;

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", entry->d_name);
			fd = open(path, O_RDONLY);
			if (fd < 0)
				continue;
			if (read(fd, name, sizeof(name) - 1) > 0 && !strcmp(name, "ktstr-bulk\n")) {
				snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
				port = open(path, O_RDWR | O_NONBLOCK);
			}
			close(fd);
		}
		if (dir)
			closedir(dir);
	}
}

void send_bytes(const void *data, size_t bytes)
{
	const uint8_t *at = data;

	while (bytes) {
		ssize_t n = write(port, at, bytes < CHUNK ? bytes : CHUNK);

		if (n > 0) {
			at += n;
			bytes -= (size_t)n;
			sent += (uint64_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = port, .events = POLLOUT };

			poll(&wait, 1, 1000);
		} else if (n < 0 && errno != EINTR) {
			printf("hostile: write: %s\n", strerror(errno));
			reboot(RB_POWER_OFF);
		}
	}
}

void send_header(uint32_t msg_type, uint32_t length, uint32_t crc, uint32_t pad)
{
	const uint32_t header[4] = { msg_type, length, crc, pad };

	send_bytes(header, sizeof(header));
}

void send_frame(uint32_t msg_type, const void *payload, uint32_t bytes)
{
	static uint8_t whole[KTF_HEADER_SIZE + KTF_MAX_PAYLOAD];

	send_bytes(whole, ktf_encode(whole, sizeof(whole), msg_type, payload, bytes));
}

// Read until the host says Shutdown. All the answers that were not read before come first.
void wait_for_shutdown(int within_ms)
{
	struct ktf_assembler *assembler = ktf_assembler_create(KTF_MAX_PAYLOAD);
	struct pollfd ready = { .fd = port, .events = POLLIN };
	static uint8_t data[CHUNK];

	while (assembler && poll(&ready, 1, within_ms) > 0) {
		ssize_t n = read(port, data, sizeof(data));
		struct ktf_frame frame;
		size_t at = 0, used;
		bool more = n > 0;

		for (; more; at += used)
			if (ktf_assembler_feed(assembler, data + at, (size_t)n - at, &used, &frame, 1,
					       &more) == 1 &&
			    frame.msg_type == KTF_SHUTDOWN)
				return;
	}
	printf("hostile: no Shutdown\n");
}
