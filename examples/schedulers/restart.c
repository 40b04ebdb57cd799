// SPDX-License-Identifier: MIT
/*
 * Loads restart.bpf.o with one slice after the other. The scheduler ends itself with SCX_ECODE_ACT_RESTART, and this
 * program loads it again, as an ordinary scheduler does after CPU hotplug. Any other end is the program's end too.
 */
#include <unistd.h>

#include "program.h"

#define SCX_ECODE_ACT_RESTART (1LL << 48)
#define LIVE_NS 700000000ULL

PROGRAM_OBJECT(OBJECT);

static const unsigned long long slices_ns[] = { 20000000, 10000000, 5000000 };
#define LIVES (sizeof(slices_ns) / sizeof(slices_ns[0]))

/* Run the scheduler with a slice until it is gone or the program is asked to end. Returns how it ended. */
static struct exit_record live(unsigned long long slice_ns, int is_last)
{
	struct exit_record record = { .kind = ~0u };
	struct bpf_object *object = program_open("restart");
	unsigned long long *slice = object ? program_constant(object, "slice_ns") : NULL;
	unsigned long long *live_ns = object ? program_constant(object, "live_ns") : NULL;
	struct bpf_link *link;

	if (!slice || !live_ns)
		return record;
	*slice = slice_ns;
	*live_ns = is_last ? 0 : LIVE_NS;
	link = program_attach(object);
	if (!link)
		return record;
	record.kind = 0;
	while (!asked_to_end && !record.kind) {
		usleep(50000);
		record = program_exit_record(object);
	}
	bpf_link__destroy(link);
	bpf_object__close(object);
	return record;
}

int main(void)
{
	struct exit_record record;

	program_begin();
	for (unsigned int i = 0; i < LIVES && !asked_to_end; i++) {
		printf("life %u: slice %llu us\n", i + 1, slices_ns[i] / 1000);
		record = live(slices_ns[i], i + 1 == LIVES);
		if (record.kind == ~0u)
			return 2;
		if (!asked_to_end && !(record.code & SCX_ECODE_ACT_RESTART))
			return 1;
	}
	return 0;
}
