// SPDX-License-Identifier: MIT
#include "work.h"

#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define START_OFFSET_US 50000 // before which the workers of a run with a seed begin, each at its own time
#define CHUNK_TURNS 20000 // some tens of microseconds on hardware, below a millisecond under emulation

static void iterated(struct work_slot *slot)
{
	__atomic_store_n(&slot->iterations, slot->iterations + 1, __ATOMIC_RELAXED);
	beat_if_due(&slot->beat, slot->iterations);
}

static void compute(struct work_slot *slot)
{
	volatile uint64_t value = slot->iterations;

	for (int i = 0; i < CHUNK_TURNS; i++)
		value = value * 6364136223846793005ULL + 1442695040888963407ULL;
	iterated(slot);
}

static void compute_for(struct work_slot *slot, uint64_t duration_ms)
{
	uint64_t end_ns = now_ns() + duration_ms * NSEC_PER_MSEC;

	do
		compute(slot);
	while (now_ns() < end_ns);
}

static void sleep_ms(uint64_t duration_ms)
{
	struct timespec ts = { (time_t)(duration_ms / 1000), (long)(duration_ms % 1000 * NSEC_PER_MSEC) };

	nanosleep(&ts, NULL);
}

static bool seeded;
static uint64_t seed;

void work_init(void)
{
	// Of the kernel's command line: what the kernel does not know it hands to its first process.
	const char *text = getenv("ktstr_seed");

	if (text)
		work_take_seed(strtoull(text, NULL, 10));
}

void work_take_seed(uint64_t number)
{
	seeded = true;
	seed = number;
}

// Where a worker's pseudo-random numbers begin: the same in every run without a seed, else drawn from the seed.
static uint32_t random_begin(enum worker_kind kind, uint32_t number)
{
	uint64_t mixed = seed + ((uint64_t)kind << 32 | number) * 0x9e3779b97f4a7c15ull;

	if (!seeded)
		return number * 2654435761u + 1;
	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ull;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)(mixed ^ mixed >> 31) | 1;
}

// Small pseudo-random numbers.
static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void work_yield(struct work_slot *slot)
{
	for (;;) {
		sched_yield();
		iterated(slot);
	}
}

// Bursts of 5 to 36 ms with sleeps of 10 to 73 ms between them.
static void work_bursty(struct work_slot *slot, uint32_t random)
{
	for (;;) {
		compute_for(slot, 5 + next_random(&random) % 32);
		sleep_ms(10 + next_random(&random) % 64);
	}
}

static void work_pipe(struct work_slot *slot, struct work_pair *pair)
{
	int in = pair->second ? pair->there[0] : pair->back[0];
	int out = pair->second ? pair->back[1] : pair->there[1];
	char token = 0;

	if (!pair->second && write(out, &token, 1) != 1)
		_exit(1);
	while (read(in, &token, 1) == 1 && write(out, &token, 1) == 1)
		iterated(slot);
	_exit(1);
}

static void work_futex(struct work_slot *slot, struct work_pair *pair)
{
	uint32_t mine = pair->second;

	for (;;) {
		while (__atomic_load_n(pair->turn, __ATOMIC_ACQUIRE) != mine)
			syscall(SYS_futex, pair->turn, FUTEX_WAIT, 1 - mine, NULL, NULL, 0);
		iterated(slot);
		__atomic_store_n(pair->turn, 1 - mine, __ATOMIC_RELEASE);
		syscall(SYS_futex, pair->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static void work_fork(struct work_slot *slot)
{
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		else
			sleep_ms(10); // out of processes: the others have to end first
		iterated(slot);
	}
}

static void work_mixed(struct work_slot *slot, uint32_t random)
{
	for (;;) {
		switch (next_random(&random) % 4) {
		case 0:
			compute_for(slot, 1 + next_random(&random) % 16);
			break;
		case 1:
			sleep_ms(1 + next_random(&random) % 16);
			break;
		case 2:
			for (int i = 0; i < 50; i++)
				sched_yield();
			break;
		default:
			compute(slot);
		}
		iterated(slot);
	}
}

static void work_sleep(struct work_slot *slot)
{
	for (;;) {
		sleep_ms(10);
		iterated(slot);
	}
}

int work_pair_open(struct work_pair *pair, enum worker_kind kind, struct work_slot *first)
{
	memset(pair, 0xff, sizeof(*pair)); // descriptors of -1
	pair->second = false;
	pair->turn = &first->turn;
	if (kind != WORKER_PIPE)
		return 0;
	if (pipe(pair->there) || pipe(pair->back)) {
		work_pair_close(pair);
		return -1;
	}
	return 0;
}

void work_pair_close(struct work_pair *pair)
{
	for (int i = 0; i < 2; i++) {
		if (pair->there[i] >= 0)
			close(pair->there[i]);
		if (pair->back[i] >= 0)
			close(pair->back[i]);
	}
}

void work(enum worker_kind kind, struct work_slot *slot, struct work_pair *pair, uint32_t number)
{
	uint32_t random = random_begin(kind, number);

	if (seeded) {
		struct timespec offset = { 0, next_random(&random) % START_OFFSET_US * 1000 };

		nanosleep(&offset, NULL);
	}
	switch (kind) {
	case WORKER_YIELD:
		work_yield(slot);
		break;
	case WORKER_BURSTY:
		work_bursty(slot, random);
		break;
	case WORKER_PIPE:
		work_pipe(slot, pair);
		break;
	case WORKER_FUTEX:
		work_futex(slot, pair);
		break;
	case WORKER_FORK:
		work_fork(slot);
		break;
	case WORKER_MIXED:
		work_mixed(slot, random);
		break;
	case WORKER_SLEEP:
		work_sleep(slot);
		break;
	case WORKER_SPIN:
	case WORKER_KINDS:
		break;
	}
	for (;;)
		compute(slot);
}
