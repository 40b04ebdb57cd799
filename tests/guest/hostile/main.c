// SPDX-License-Identifier: MIT
//
// PID 1 of a hostile guest: comes up as it should, is quiet for a while, then attacks the host's end of the bulk port
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
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>

#include "attacks.h"
#include "port.h"

#define SECOND_NS 1000000000ull
#define QUIET_NS (6 * SECOND_NS)
#define FLOOD_NS (20 * SECOND_NS)
#define ACCESSOR_NS (10 * SECOND_NS)
#define FAREWELL_MS 30000
#define TURN_BYTES (192u << 10)
#define TORRENT_BYTES (2u << 20) // the host allows 1 MiB at once and 128 KiB a second
#define SETTLE_BYTES (KTF_MAX_PAYLOAD + 65536)

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND_NS + (uint64_t)ts.tv_nsec;
}

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
			attacks[turn % nr_attacks]();
	}
}

static void step(uint16_t index)
{
	uint8_t body[24] = { 0 };

	memcpy(body + 4, &index, sizeof(index));
	send_frame(KTF_STIMULUS, body, sizeof(body));
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
	wait_for_shutdown(FAREWELL_MS);
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
	make_noise();
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
