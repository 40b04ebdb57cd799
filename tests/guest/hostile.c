// SPDX-License-Identifier: MIT
//
// PID 1 of a hostile guest: comes up in good order, is quiet for a while, then attacks the host's end of the bulk port
// with all that a guest can say, and leaves with a true account of how many bytes that was.
//
//	step 0	quiet, for QUIET_NS
//	step 1	attacks by turns, for FLOOD_NS
//	then	orderly frames, long enough to end whatever was torn; ScenarioEnd, whose total_iterations is the number of
//		bytes sent up to the guest's last one; Exit
//
// How much gets through depends on how fast this machine is. So every attack exceeds what the host allows within a
// single turn, and text, whose allowance is large, does so in one stream before all others begin.
//
// It reads nothing of what the host says until the end. Then it looks for the Shutdown that answers the Exit.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "frames/ktstr_frames.h"
#include "heartbeat/ktstr_vlp.h"

#define PORT_NAME "ktstr-bulk\n"
#define SECOND_NS 1000000000ull
#define QUIET_NS (6 * SECOND_NS)
#define FLOOD_NS (20 * SECOND_NS)
#define ACCESSOR_NS (10 * SECOND_NS)
#define FAREWELL_NS (30 * SECOND_NS)
#define TURN_BYTES (192u << 10)
#define TORRENT_BYTES (2u << 20) // the host allows 1 MiB at once and 128 KiB a second
#define CHUNK 32768 // what the kernel takes in one write
#define SETTLE_BYTES (KTF_MAX_PAYLOAD + 65536)

static int port = -1;
static uint64_t sent;
static uint64_t state = 88172645463325252ull;
static uint8_t noise[KTF_MAX_PAYLOAD];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void send_bytes(const void *data, size_t bytes)
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

static void send_header(uint32_t msg_type, uint32_t length, uint32_t crc, uint32_t pad)
{
	const uint32_t header[4] = { msg_type, length, crc, pad };

	send_bytes(header, sizeof(header));
}

static void send_frame(uint32_t msg_type, const void *payload, uint32_t bytes)
{
	static uint8_t whole[KTF_HEADER_SIZE + KTF_MAX_PAYLOAD];

	send_bytes(whole, ktf_encode(whole, sizeof(whole), msg_type, payload, bytes));
}

static uint32_t any_type(void)
{
	return ktf_msg_types[next() % ktf_msg_type_count].value;
}

static const uint8_t *any_noise(uint32_t bytes)
{
	return noise + next() % (sizeof(noise) - bytes + 1);
}

static void garbage(void)
{
	send_bytes(any_noise(8192), 8192);
}

static void giant_lengths(void)
{
	send_header(any_type(), next() % 2 ? UINT32_MAX : KTF_MAX_PAYLOAD + 1, (uint32_t)next(), 0);
	send_bytes(any_noise(300), 300);
}

static void torn_frames(void)
{
	send_header(any_type(), (uint32_t)(next() % KTF_MAX_PAYLOAD), (uint32_t)next(), 0);
	send_bytes(any_noise(1000), next() % 1000);
}

static void forged_replies(void)
{
	uint32_t reply[130] = { (uint32_t)next(), 1 };

	send_frame(KTF_SNAPSHOT_REPLY, reply, sizeof(reply));
	send_frame(KTF_ACCESSOR_READY, NULL, 0);
	send_frame(KTF_SHUTDOWN, NULL, 0);
	send_frame(KTF_KERNEL_OP_REPLY, any_noise(100), 100);
	send_frame(KTF_SYS_RDY, NULL, 0);
}

static void bad_crcs(void)
{
	uint32_t bytes = (uint32_t)(next() % 200);

	send_header(any_type(), bytes, 0x12345678, 0);
	send_bytes(any_noise(bytes), bytes);
}

static void unknown_types(void)
{
	send_frame((uint32_t)next() & 0x7f7f7f7f, any_noise(40), 40);
}

static void text(void)
{
	static const uint32_t types[] = { KTF_STDOUT,	 KTF_STDOUT, KTF_STDERR,
					  KTF_SCHED_LOG, KTF_DMESG,  KTF_CRASH };
	static const char line[] = "\033[2J\033]0;owned\007 a line of the guest's \342\202\254 \n";
	static char whole[60000];

	switch (next() % 4) {
	case 0: // one line without an end
		memset(whole, 'x', sizeof(whole));
		send_frame(types[next() % 6], whole, sizeof(whole));
		break;
	case 1:
		send_frame(types[next() % 6], any_noise(20000), 20000);
		break;
	default:
		for (int i = 0; i < 200; i++)
			send_frame(types[next() % 6], line, sizeof(line) - 1);
	}
}

static void requests(uint32_t kind, const char *tag, uint32_t bytes)
{
	struct {
		uint32_t id, kind;
		char tag[64];
	} request = { .id = (uint32_t)next() | 1, .kind = kind };

	strncpy(request.tag, tag, sizeof(request.tag) - 1);
	send_frame(KTF_SNAPSHOT_REQUEST, &request, bytes);
}

static void captures(void)
{
	static const char *const tags[] = {
		"", "error-001", "mine", "../../../etc/passwd", "periodic_000", "\033[31m"
	};

	requests(1, tags[next() % 6], 72);
}

static void watches(void)
{
	static const char *const tags[] = { "jiffies", "nr_switches", "no_such_symbol", "a->b->c->d",
					    "linux_banner" };

	requests(2, tags[next() % 5], 72);
}

static void malformed_requests(void)
{
	requests((uint32_t)next(), "x", next() % 2 ? 72 : 20);
}

static void marks(void)
{
	send_frame(KTF_SCENARIO_START, NULL, 0);
	send_frame(KTF_SCENARIO_PAUSE, NULL, 0);
	send_frame(KTF_SCENARIO_RESUME, NULL, 0);
}

static void worker_reports(void)
{
	static uint8_t report[4 + 256 * 28];
	uint32_t rows = next() % 8 ? 8 : 256;

	memcpy(report, any_noise(sizeof(report)), sizeof(report));
	memcpy(report, &rows, 4);
	send_frame(KTF_WORKER_REPORT, report, 4 + rows * 28);
}

static void exits_of_schedulers(void)
{
	int32_t code = (int32_t)next();

	send_frame(KTF_SCHED_EXIT, &code, sizeof(code));
}

static void stimuli(void)
{
	send_frame(next() % 2 ? KTF_STIMULUS : KTF_STEP_END, any_noise(24), 24);
}

static void phases(void)
{
	static uint8_t reason[50000];

	memset(reason, 'r', sizeof(reason));
	reason[0] = (uint8_t)(1 + next() % 3); // 4 ends the run
	send_frame(KTF_LIFECYCLE, reason, next() % 64 ? 1 : sizeof(reason));
}

static void beats(void)
{
	static uint8_t frames[2048 * KTV_FRAME_SIZE];

	for (int i = 0; i < 2048; i++) {
		const struct ktv_beat beat = {
			.timestamp = next() % 100,
			.nonce = next() % 100,
			.pid = (uint32_t)next(),
		};

		ktv_encode(&beat, frames + i * KTV_FRAME_SIZE);
		if (i % 3 == 0)
			frames[i * KTV_FRAME_SIZE + 9] ^= 1;
	}
	send_frame(KTF_BEATS, frames, sizeof(frames));
}

static void kernel_ops(void)
{
	// A read of jiffies for which the guest has to stand still, in MessagePack.
	static const char cold[] = "\1\0\0\0\x84\xa4mode\xa4"
				   "cold\xa9"
				   "direction\xa4read\xa7"
				   "entries\x91\x82\xa6target\x82\xa4type\xa6symbol"
				   "\xa4name\xa7jiffies\xa5value\xc0\xa3tag\xa6"
				   "forged";

	if (next() % 4)
		send_frame(KTF_KERNEL_OP_REQUEST, any_noise(500), (uint32_t)(next() % 500));
	else
		send_frame(KTF_KERNEL_OP_REQUEST, cold, sizeof(cold) - 1);
}

static void verdicts(void)
{
	static const uint32_t types[] = { KTF_TEST_RESULT, KTF_PAYLOAD_METRICS, KTF_PROFRAW,
					  KTF_WPROF_TRACE };

	send_frame(types[next() % 4], any_noise(KTF_MAX_PAYLOAD), KTF_MAX_PAYLOAD);
}

// A payload full of headers that announce the cap, with a wrong CRC: all of them are looked at.
static void decoys(void)
{
	static uint32_t payload[16384];

	for (size_t i = 0; i < 16384; i += 4) {
		payload[i] = any_type();
		payload[i + 1] = KTF_MAX_PAYLOAD - (uint32_t)(next() % 1000);
		payload[i + 3] = 0;
	}
	send_header(KTF_STDOUT, sizeof(payload), 1, 0);
	send_bytes(payload, sizeof(payload));
}

static void (*const attacks[])(void) = {
	garbage,	giant_lengths,	text,	torn_frames,
	forged_replies, bad_crcs,	text,	unknown_types,
	captures,	watches,	text,	malformed_requests,
	marks,		worker_reports, text,	exits_of_schedulers,
	stimuli,	phases,		beats,	text,
	kernel_ops,	verdicts,	decoys,
};
#define NR_ATTACKS (sizeof(attacks) / sizeof(*attacks))

static void torrent(void)
{
	for (uint64_t until = sent + TORRENT_BYTES; sent < until;)
		send_frame(KTF_STDOUT, any_noise(20000), 20000);
}

static void flood(void)
{
	uint64_t end_ns = now_ns() + FLOOD_NS;

	torrent();
	for (size_t turn = 0; now_ns() < end_ns; turn++) {
		uint64_t until = sent + TURN_BYTES;

		while (sent < until && now_ns() < end_ns)
			attacks[turn % NR_ATTACKS]();
	}
}

static void find_port(void)
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
			if (read(fd, name, sizeof(name) - 1) > 0 && !strcmp(name, PORT_NAME)) {
				snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
				port = open(path, O_RDWR | O_NONBLOCK);
			}
			close(fd);
		}
		if (dir)
			closedir(dir);
	}
}

static void step(uint16_t index)
{
	uint8_t body[24] = { 0 };

	memcpy(body + 4, &index, sizeof(index));
	send_frame(KTF_STIMULUS, body, sizeof(body));
}

// Read until the host says Shutdown. All the answers that were not read before come first.
static void wait_for_shutdown(void)
{
	struct ktf_assembler *assembler = ktf_assembler_create(KTF_MAX_PAYLOAD);
	struct pollfd ready = { .fd = port, .events = POLLIN };
	static uint8_t data[CHUNK];

	while (assembler && poll(&ready, 1, FAREWELL_NS / 1000000) > 0) {
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

static void leave(void)
{
	static const uint8_t zeros[1024];
	uint64_t until = sent + SETTLE_BYTES;
	uint64_t end[2] = { (QUIET_NS + FLOOD_NS) / 1000000, 0 };
	int32_t code = 0;

	while (sent < until)
		send_frame(KTF_PROFRAW, zeros, sizeof(zeros));
	end[1] = sent + KTF_HEADER_SIZE + sizeof(end) + KTF_HEADER_SIZE + sizeof(code);
	send_frame(KTF_SCENARIO_END, end, sizeof(end));
	send_frame(KTF_EXIT, &code, sizeof(code));
	wait_for_shutdown();
	reboot(RB_POWER_OFF);
}

int main(void)
{
	struct pollfd ready;
	uint8_t phase = 1;
	struct timespec quiet = { .tv_sec = QUIET_NS / SECOND_NS };

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(next() >> 32);
	find_port();
	send_frame(KTF_LIFECYCLE, &phase, 1);
	send_frame(KTF_SYS_RDY, NULL, 0);
	ready = (struct pollfd){ .fd = port, .events = POLLIN };
	poll(&ready, 1, ACCESSOR_NS / 1000000);
	send_frame(KTF_SCENARIO_START, NULL, 0);
	step(0);
	nanosleep(&quiet, NULL);
	step(1);
	flood();
	leave();
}
