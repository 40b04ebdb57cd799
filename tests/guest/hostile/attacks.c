// SPDX-License-Identifier: MIT
#include "attacks.h"

#include <stdint.h>
#include <string.h>

#include "heartbeat/ktstr_vlp.h"
#include "port.h"

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

void (*const attacks[])(void) = {
	garbage,	giant_lengths,	text,	torn_frames,
	forged_replies, bad_crcs,	text,	unknown_types,
	captures,	watches,	text,	malformed_requests,
	marks,		worker_reports, text,	exits_of_schedulers,
	stimuli,	phases,		beats,	text,
	kernel_ops,	verdicts,	decoys,
};
const size_t nr_attacks = sizeof(attacks) / sizeof(*attacks);
