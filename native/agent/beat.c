// SPDX-License-Identifier: MIT
#include "beat.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../frames/ktstr_frames.h"
#include "plan.h"
#include "port.h"
#include "util.h"

#define BATCH_MAX (PLAN_MAX_PROCESSES * BEAT_KEPT + 1)

static uint32_t *pulse; // shared with the workers; 0 before the first
static uint64_t taken[PLAN_MAX_PROCESSES]; // frames collected of each slot
static uint8_t batch[BATCH_MAX][KTV_FRAME_SIZE];
static uint32_t nr_batch;
static struct beat_slot own; // of PID 1

int beat_init(void)
{
	pulse = mmap(NULL, sizeof(*pulse), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own.start_ns = now_ns();
	return pulse == MAP_FAILED ? -1 : 0;
}

void beat_begin(uint32_t number, struct beat_slot *slot)
{
	memset(slot, 0, sizeof(*slot));
	slot->start_ns = now_ns();
	taken[number] = 0;
}

static void beat(struct beat_slot *slot, uint32_t pid, uint32_t payload)
{
	const struct ktv_beat values = {
		.status = KTV_OK,
		.pid = pid,
		.timestamp = now_ns() - slot->start_ns,
		.nonce = slot->made + 1,
		.payload = payload,
	};

	ktv_encode(&values, slot->frames[slot->made % BEAT_KEPT]);
	__atomic_store_n(&slot->made, slot->made + 1, __ATOMIC_RELEASE);
}

void beat_if_due(struct beat_slot *slot, uint64_t iterations)
{
	uint32_t now = __atomic_load_n(pulse, __ATOMIC_RELAXED);

	if (slot->pulse == now)
		return;
	slot->pulse = now;
	beat(slot, (uint32_t)getpid(), (uint32_t)iterations);
}

void beat_collect(uint32_t number, const struct beat_slot *slot)
{
	uint64_t made = __atomic_load_n(&slot->made, __ATOMIC_ACQUIRE);

	// The oldest kept frame may be overwritten at any moment: the next in its place is being made.
	if (made - taken[number] >= BEAT_KEPT)
		taken[number] = made - BEAT_KEPT + 1;
	for (; taken[number] < made && nr_batch < BATCH_MAX - 1; taken[number]++)
		memcpy(batch[nr_batch++], slot->frames[taken[number] % BEAT_KEPT], KTV_FRAME_SIZE);
}

void beat_send(uint32_t workers)
{
	beat(&own, BEAT_PROGRAM_PID, workers);
	memcpy(batch[nr_batch++], own.frames[(own.made - 1) % BEAT_KEPT], KTV_FRAME_SIZE);
	port_send(KTF_BEATS, batch, nr_batch * KTV_FRAME_SIZE);
	nr_batch = 0;
	__atomic_store_n(pulse, *pulse + 1, __ATOMIC_RELAXED);
}
