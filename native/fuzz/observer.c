// SPDX-License-Identifier: MIT
//
// Fuzz target: the observer, with QEMU and the backend made up around it.
//
// The input is a program of operations: blocks that are executed, stores, and what the backend writes into the page, sound
// or with any bytes, at any time. Whatever stands there, the machine is held where a model says that it is, and the page
// says why; a backend that is gone while it is held ends the process.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "script.h"

static _Noreturn void end_process(int status);
static ssize_t tell_backend(int fd, const void *byte, size_t size, int flags);
static ssize_t hear_backend(int fd, void *byte, size_t size);

#define _exit(status) end_process(status)
#define send(fd, byte, size, flags) tell_backend(fd, byte, size, flags)
#define read(fd, byte, size) hear_backend(fd, byte, size)
#include "../observer/blocks.c"
#include "../observer/notes.c"
#include "../observer/observer.c"
#include "../observer/probes.c"
#include "../observer/ranges.c"
#include "../observer/registers.c"
#include "../observer/turns.c"
#undef _exit
#undef send
#undef read
#include "observer_qemu.h"

#define OPERATIONS_MAX 200
#define SLOTS 64 // places of a kernel in which all that is sound happens
#define KERNEL 0xffffffff81000000ull
#define VCPUS 2

static jmp_buf process;
static bool gone, is_turn;
static uint64_t holds_told;
static uint8_t states[VCPUS]; // what the emulation keeps of each vCPU
static uint32_t executing;

/* Call a block's callback as translated code does: with the address of the vCPU's state in %rbp. */
void call_block(void (*cb)(unsigned int, void *), unsigned int vcpu, void *data, const void *state);
__asm__(".text\n"
	".local call_block\n"
	".type call_block, @function\n"
	"call_block:\n"
	"	push %rbp\n"
	"	mov %rcx, %rbp\n"
	"	mov %rdi, %rax\n"
	"	mov %esi, %edi\n"
	"	mov %rdx, %rsi\n"
	"	call *%rax\n"
	"	pop %rbp\n"
	"	ret\n"
	".size call_block, . - call_block\n");

// What is watched, as the observer must have taken it at the last hold.
static struct observer_range model[OBSERVER_WATCHES], noted_model[OBSERVER_NOTED];
static uint32_t nr_model, nr_noted_model, model_generation;

static uint64_t place(void)
{
	return KERNEL + take8(script) % SLOTS * 8;
}

static void end_process(int status)
{
	MUST(status == 1 && gone);
	longjmp(process, 1);
}

static void watch_many(void)
{
	uint32_t stride = 8 + take8(script) % 16, nr = take16(script);

	nr = take8(script) % 4 == 1 ? OBSERVER_WATCHES + nr % 3 : nr;
	uint64_t first = take8(script) % 8 ? KERNEL : take64(script);

	page->nr_watches = nr;
	for (uint32_t i = 0; i < nr && i < OBSERVER_WATCHES; i++)
		page->watches[i] = (struct observer_range){ first + i * stride, first + i * stride + 7 };
}

static void watch_few(void)
{
	uint64_t at = KERNEL;

	page->nr_watches = take8(script) % 5;
	for (uint32_t i = 0; i < page->nr_watches; i++) {
		at += take8(script) % 64;
		page->watches[i].first = at;
		at += take8(script) % 64;
		page->watches[i].last = at++;
	}
}

static void probe_few(void)
{
	page->nr_probes = take8(script) % 5;
	for (uint32_t i = 0; i < page->nr_probes; i++)
		page->probes[i] = KERNEL + 8 * i;
	if (take8(script) % 8 == 1)
		page->nr_probes = take8(script) % 2 ? OBSERVER_PROBES + take8(script) : take32(script);
}

static void note_few(void)
{
	uint64_t at = KERNEL;

	page->note_vcpu = take8(script) % (VCPUS + 2);
	page->nr_noted_probes = take8(script) % 5;
	for (uint32_t i = 0; i < page->nr_noted_probes; i++)
		page->noted_probes[i] = KERNEL + 8 * i;
	page->nr_noted_ranges = take8(script) % 5;
	for (uint32_t i = 0; i < page->nr_noted_ranges; i++) {
		at += take8(script) % 64;
		page->noted_ranges[i].first = at;
		at += take8(script) % 64;
		page->noted_ranges[i].last = at++;
	}
	if (take8(script) % 8 == 1)
		page->nr_noted_probes = take32(script);
	if (take8(script) % 8 == 1)
		page->nr_noted_ranges = take32(script);
}

// What the backend does to its part of the page, or to any of it.
static void command(void)
{
	size_t got;
	const uint8_t *bytes;

	switch (take8(script) % 11) {
	case 0:
		page->stop = 1;
		break;
	case 1:
		page->hold_at = total + take8(script);
		break;
	case 2:
		page->hold_at = take64(script);
		break;
	case 3:
		page->step = take8(script) % 2 ? take8(script) : take64(script);
		break;
	case 4:
		watch_few();
		break;
	case 5:
		watch_many();
		break;
	case 6:
		probe_few();
		break;
	case 7:
		page->clock_address = take8(script) % 2 ? place() : take64(script);
		page->clock_due = take8(script);
		break;
	case 8:
		page->next_of = take8(script) % (VCPUS + 2);
		break;
	case 9:
		note_few();
		break;
	case 10:
		bytes = take_bytes(script, take8(script), &got);
		memcpy((uint8_t *)page + take32(script) % (sizeof(*page) - got), bytes, got);
		break;
	}
	if (take8(script) % 4)
		page->generation++;
}

// The backend at a hold: the page says where, and what is written now is taken when it lets the machine go on.
static ssize_t tell_backend(int fd, const void *byte, size_t size, int flags)
{
	(void)fd;
	(void)flags;
	MUST(size == 1 && *(const char *)byte == 'h');
	if (take8(script) % 16 == 1) {
		errno = EINTR;
		return -1;
	}
	if (take8(script) % 64 == 1) {
		gone = true;
		errno = EPIPE;
		return -1;
	}
	MUST(page->reason >= OBSERVER_COUNT && page->reason <= OBSERVER_NEXT);
	is_turn = page->reason == OBSERVER_TURN;
	holds_told += !is_turn;
	MUST(is_turn || page->vcpu == executing);
	MUST(page->reason != OBSERVER_NEXT || next_of == page->vcpu + 1);
	MUST(page->total == total && page->registers[RIP] == page->next_ip);
	return 1;
}

// The ranges of the page, if they are sound.
static uint32_t take_ranges(struct observer_range *into, const struct observer_range *from, uint32_t nr,
			    uint32_t most)
{
	bool sound = nr <= most;

	for (uint32_t i = 0; sound && i < nr; i++)
		sound = from[i].first <= from[i].last && (!i || from[i].first > from[i - 1].last);
	if (!sound)
		return 0;
	memcpy(into, from, nr * sizeof(*into));
	return nr;
}

static void take_model(void)
{
	model_generation = page->generation;
	nr_model = take_ranges(model, page->watches, page->nr_watches, OBSERVER_WATCHES);
	nr_noted_model = take_ranges(noted_model, page->noted_ranges, page->nr_noted_ranges, OBSERVER_NOTED);
}

static ssize_t hear_backend(int fd, void *byte, size_t size)
{
	(void)fd;
	(void)size;
	for (uint8_t commands = take8(script) % 4; commands; commands--)
		command();
	if (take8(script) % 64 == 1) {
		gone = true;
		return 0;
	}
	if (page->generation != model_generation)
		take_model();
	if (is_turn) {
		// Without a number of its own a vCPU is not told apart, which ends the process as well.
		gone = take8(script) % 64 == 1;
		page->turn_vcpu = gone ? VCPUS + take8(script) : executing;
	}
	*(char *)byte = 'g';
	return 1;
}

// -- the machine --------------------------------------------------------------------------------------

static void execute(void)
{
	uint64_t before = total;

	block_address = place();
	block_insns = take8(script);
	translated(1, NULL);
	executing = take8(script) % VCPUS;
	// The number that QEMU gives is of any vCPU.
	call_block(executed, take8(script) % VCPUS, executed_data, &states[executing]);
	MUST(!gone && total == before + block_insns);
}

// Mostly at the edge of what is watched.
static uint64_t address_of_store(void)
{
	const struct observer_range *near;

	switch (take8(script) % 8) {
	case 0:
		return place() + take8(script) % 8;
	case 1:
		return take64(script);
	case 2:
		near = &noted_model[nr_noted_model ? take16(script) % nr_noted_model : 0];
		return near->last + take8(script) % 32 - 16;
	default:
		near = &model[nr_model ? take16(script) % nr_model : 0];
		return (take8(script) % 2 ? near->first : near->last) + take8(script) % 32 - 16;
	}
}

static bool is_in(const struct observer_range *ranges, uint32_t nr, uint64_t first, uint64_t last)
{
	bool hit = false;

	for (uint32_t i = 0; i < nr; i++)
		hit |= ranges[i].first <= last && first <= ranges[i].last;
	return hit;
}

static void store(void)
{
	uint64_t address = address_of_store(), told = holds_told, noted;
	uint32_t shift = take8(script) % 5, width = 1u << shift;
	bool hit, is_noted;

	// Watched as it was before, and where the clock's hold has let the machine go on, as it is then.
	value = (struct qemu_value){ .data.u64 = take16(script) };
	block_address = KERNEL;
	block_insns = 1;
	translated(1, NULL);
	if (address == clock_address && clock_address && value.data.u64 >= clock_due) {
		stored(0, shift, address, stored_data);
		MUST(!gone && holds_told > told);
		return;
	}
	hit = is_in(model, nr_model, address, address + width - 1);
	is_noted = is_in(noted_model, nr_noted_model, address, address + width - 1);
	noted = page->nr_notes;
	stored(0, shift, address, stored_data);
	MUST(!gone && holds_told == told + hit);
	// While the machine is held the backend may write anything there.
	MUST(hit || page->nr_notes == noted + is_noted);
}

static void reset(void)
{
	memset(&watches, 0, sizeof(watches));
	memset(&notes, 0, sizeof(notes));
	memset(&turns, 0, sizeof(turns));
	free(blocks.at);
	memset(&blocks, 0, sizeof(blocks));
	memset(handles, 0, sizeof(handles));
	total = clock_address = clock_due = holds_told = turn_began = 0;
	executing = next_of = 0;
	probes.nr = nr_model = nr_noted_model = 0;
	has_thread = gone = false;
}

static void run(void)
{
	static const struct qemu_info info = {
		"x86_64", { 1, QEMU_PLUGIN_API_VERSION }, true, { VCPUS, VCPUS }
	};
	int fd = memfd_create("ktstr-fuzz", MFD_CLOEXEC);
	char page_word[16], link_word[] = "link=0", *words[] = { page_word, link_word };

	MUST(fd >= 0 && !ftruncate(fd, sizeof(*page)));
	snprintf(page_word, sizeof(page_word), "page=%d", fd);
	MUST(!qemu_plugin_install(1, &info, 2, words));
	close(fd);
	MUST(page->magic == OBSERVER_MAGIC);
	model_generation = page->generation;
	begun(1, 0);
	if (setjmp(process))
		return;
	for (int left = OPERATIONS_MAX; script->left && left; left--) {
		switch (take8(script) % 8) {
		case 0:
			command();
			break;
		case 1:
			// Whatever was commanded so far is taken.
			page->stop = 1;
			__attribute__((fallthrough));
		case 2:
		case 3:
			execute();
			break;
		default:
			store();
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script input = { data, size };

	script = &input;
	reset();
	run();
	munmap(page, sizeof(*page));
	return 0;
}
