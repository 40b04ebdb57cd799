// SPDX-License-Identifier: MIT
/*
 * The observer: a plugin of QEMU's emulation that counts instructions and holds the machine without the machine
 * noticing. With thread=single one host thread runs all vCPUs in turn, so a callback that does not return holds all of
 * them, virtual time stands, and what comes after is what would have come without the hold.
 *
 * The callbacks are registered from the start, whether or not anybody looks, so that looking does not change which code
 * runs: for each block, and for each store of the kernel's code. Only plain callbacks: with the inline operations and the
 * conditional callbacks of the interface, QEMU 10.0 under -icount emulates the guest wrongly (it does not come up).
 * What they cost is the calls: a boot takes 0.84 of the speed of QEMU without the plugin, and the same with callbacks that
 * return at once; 0.90 without those of stores. Leaving out the stores of pushes and calls was tried: one hundredth.
 *
 * Arguments: page=FD (a shared page, see page.h), link=FD (one end of a stream socket: a byte goes out when the machine
 * is held, one comes in to let it go on, and its end is the end of the backend). probe=on loads, says so and exits.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "blocks.h"
#include "notes.h"
#include "page.h"
#include "probes.h"
#include "qemu_plugin_api.h"
#include "ranges.h"
#include "registers.h"
#include "turns.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = QEMU_PLUGIN_API_VERSION;
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

static struct observer_page *page;
static int link_fd = -1;
static struct ranges watches;
static struct notes notes;
static struct probes probes;
static uint32_t taken_generation;
static uint64_t total, due, look_due, next_count, next_step, clock_address, clock_due;
static uint32_t next_of; // a vCPU whose next block is held at, from 1; 0 for none
static bool in_store; // the block that the machine is held in is counted already
static struct blocks blocks;
static struct turns turns;
static uint64_t turn_began;
static uint32_t nr_vcpus;
static pthread_t thread;
static bool has_thread;

static void give_up(const char *why)
{
	fprintf(stderr, "ktstr-observer: %s\n", why);
	fflush(stderr);
	_exit(1);
}

// In the turn of a vCPU that is to be held before its next block, which begins at `next`, or in that of another one.
static void set_due_of_turn(uint64_t next)
{
	due = next_step < next_count ? next_step : next_count;
	if (next_of && next_of == turns.vcpu + 1 && next < due)
		due = next;
	look_due = probes.nr || notes_wanted(&notes) ? 0 : due;
}

// When the machine is held next, in instructions.
static void set_due(void)
{
	uint64_t at = page->hold_at, step = page->step;

	// Within a block all of it is counted already, and the next one is still to come.
	next_count = at > total || (at == total && in_store) ? at : UINT64_MAX;
	next_step = step ? (total / step + 1) * step : UINT64_MAX;
	next_of = page->next_of;
	set_due_of_turn(total + !in_store);
}

static bool is_kernel(uint64_t address)
{
	return address >> 63;
}

static void take_notes(void)
{
	const struct ranges *noted = &notes.ranges;

	page->refused += !notes_take(&notes, page);
	// One filter for stores that are watched and that are noted, so that all others cost what they did.
	for (uint32_t i = 0; i < noted->nr; i++)
		ranges_also_near(&watches, noted->at[i].first, noted->at[i].last);
}

static void take_lists(void)
{
	uint32_t generation = __atomic_load_n(&page->generation, __ATOMIC_ACQUIRE);

	clock_due = page->clock_due;
	if (clock_address != page->clock_address) {
		clock_address = page->clock_address;
		ranges_also_near(&watches, clock_address, clock_address);
	}
	if (generation == taken_generation)
		return;
	taken_generation = generation;
	if (!ranges_take(&watches, page->watches, page->nr_watches) ||
	    (watches.nr && !is_kernel(watches.at[0].first)))
		page->refused++;
	take_notes();
	ranges_also_near(&watches, clock_address, clock_address);
	page->refused += !probes_take(&probes, page->probes, page->nr_probes, OBSERVER_PROBES);
}

static void take_commands(void)
{
	take_lists();
	set_due();
}

static void wait_for_the_backend(void)
{
	char byte = 'h';
	ssize_t n;

	do
		n = send(link_fd, &byte, 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		give_up("the backend is gone while the machine is held");
	do
		n = read(link_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		give_up("the backend is gone while the machine is held");
}

static void count_turn(void)
{
	page->counts[turns.vcpu] += total - turn_began;
	turn_began = total;
}

static void hold(enum observer_reason reason, uint64_t next_ip)
{
	count_turn();
	page->reason = reason;
	page->vcpu = turns.vcpu;
	page->total = total;
	page->next_ip = next_ip;
	page->in_block = in_store;
	page->holds++;
	page->registers_known = registers_read(next_ip, page->registers);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wait_for_the_backend();
	take_commands();
}

static void check_thread(void)
{
	if (!has_thread) {
		thread = pthread_self();
		has_thread = true;
	} else if (!pthread_equal(thread, pthread_self())) {
		give_up("all vCPUs must share one thread (-accel tcg,thread=single)");
	}
}

// A kernel address and a small number in one pointer: nothing to allocate for each translation.
static void *pack(uint64_t address, size_t number)
{
	return (void *)(uintptr_t)(address << 16 | (number & 0xffff));
}

static uint64_t packed_address(const void *data)
{
	return (uint64_t)((int64_t)(uintptr_t)data >> 16);
}

static unsigned int packed_number(const void *data)
{
	return (uintptr_t)data & 0xffff;
}

static void begin_turn(const void *state, uint64_t address)
{
	count_turn();
	if (turns_begin(&turns, state))
		return;
	check_thread();
	page->turn_vcpu = 0;
	if (nr_vcpus > 1)
		hold(OBSERVER_TURN, address);
	if (!turns_learn(&turns, state, page->turn_vcpu, nr_vcpus))
		give_up("cannot tell the vCPUs apart: this QEMU calls plugins in a way that is not known");
	turns_begin(&turns, state);
}

// A block before which something may have to be done: the turn of another vCPU, a hold, a probed function.
static __attribute__((noinline)) void look_at_block(void *data, const void *state)
{
	uint64_t address = packed_address(data);
	unsigned int n = packed_number(data);
	const struct block block = { .address = address, .insns = n };
	uint64_t probe = address - 1;

	if (state != turns.now) {
		begin_turn(state, address);
		set_due_of_turn(total);
	}
	if (total >= due) {
		check_thread();
		hold(total >= next_count  ? OBSERVER_COUNT
		     : total >= next_step ? OBSERVER_STEP
					  : OBSERVER_NEXT,
		     address);
	}
	if (__atomic_load_n(&page->stop, __ATOMIC_RELAXED)) {
		__atomic_store_n(&page->stop, 0, __ATOMIC_RELAXED);
		check_thread();
		hold(OBSERVER_STOP, address);
	}
	// A function is entered by a jump or a call, and both begin a block.
	while (probes.nr && (probe = probes_in(&probes, &blocks, block, probe + 1))) {
		check_thread();
		page->address = probe;
		hold(OBSERVER_CALL, address);
	}
	total += n;
	if (notes_wanted(&notes))
		notes_block(&notes, page, &blocks, block, turns.vcpu, total);
}

// Called by `observed_block` with the state of the vCPU that executes. It and `on_store` are called for each block and
// each store, so what is seldom done is done elsewhere: then they need no registers that they would have to save.
__attribute__((used)) static void on_block(unsigned int vcpu, void *data, const void *state)
{
	(void)vcpu; // not to be trusted, see turns.h
	if (__builtin_expect(state != turns.now || total >= look_due, 0) ||
	    __builtin_expect(__atomic_load_n(&page->stop, __ATOMIC_RELAXED), 0)) {
		look_at_block(data, state);
		return;
	}
	total += packed_number(data);
}

void observed_block(unsigned int vcpu, void *data);
__asm__(".text\n"
	".local observed_block\n"
	".type observed_block, @function\n"
	"observed_block:\n"
	"	mov %rbp, %rdx\n"
	"	jmp on_block\n"
	".size observed_block, . - observed_block\n");

static void hold_in_block(enum observer_reason reason, const void *data)
{
	check_thread();
	in_store = true;
	hold(reason, packed_address(data) + packed_number(data));
	in_store = false;
}

static uint64_t low_bytes(struct qemu_value value, uint32_t width)
{
	return width == 1   ? value.data.u8
	       : width == 2 ? value.data.u16
	       : width == 4 ? value.data.u32
	       : width == 8 ? value.data.u64
			    : value.data.u128.low;
}

static void note_store(uint32_t info, uint64_t address, const void *data)
{
	uint32_t width = 1u << qemu_plugin_mem_size_shift(info);
	struct observer_note note = {
		.address = address,
		.next_ip = packed_address(data) + packed_number(data),
		.value = low_bytes(qemu_plugin_mem_get_value(info), width),
		.vcpu = turns.vcpu,
		.width = width,
	};

	notes_store(&notes, page, note, total);
}

// A store near something that is watched or noted.
static __attribute__((noinline)) void look_at_store(uint32_t info, uint64_t address, void *data)
{
	uint32_t width = 1u << qemu_plugin_mem_size_shift(info);
	struct qemu_value value;

	if (address == clock_address && clock_address) {
		if (qemu_plugin_mem_get_value(info).data.u64 >= clock_due)
			hold_in_block(OBSERVER_STEP, data);
	}
	if (ranges_hit(&notes.ranges, address, address + width - 1))
		note_store(info, address, data);
	if (!ranges_hit(&watches, address, address + width - 1))
		return;
	value = qemu_plugin_mem_get_value(info);
	page->address = address;
	page->width = width;
	page->value_low = low_bytes(value, width);
	page->value_high = width > 8 ? value.data.u128.high : 0;
	hold_in_block(OBSERVER_WRITE, data);
}

static void on_store(unsigned int vcpu, uint32_t info, uint64_t address, void *data)
{
	(void)vcpu;
	// Of a store elsewhere not even the width is asked: that would be a call into QEMU for each of them.
	if (__builtin_expect(ranges_near(&watches, address), 0))
		look_at_store(info, address, data);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct block block = { .address = qemu_plugin_tb_vaddr(tb), .insns = n & 0xffff };

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, observed_block, QEMU_PLUGIN_CB_R_REGS,
					     pack(qemu_plugin_tb_vaddr(tb), n));
	// What is watched is the kernel's, and no program can store there.
	if (!is_kernel(qemu_plugin_tb_vaddr(tb)))
		return;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		qemu_plugin_register_vcpu_mem_cb(
			insn, on_store, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_MEM_W,
			pack(qemu_plugin_insn_vaddr(insn), qemu_plugin_insn_size(insn)));
		block.bytes += (uint32_t)qemu_plugin_insn_size(insn);
	}
	blocks_note(&blocks, block);
}

static void on_vcpu(uint64_t id, unsigned int vcpu)
{
	(void)id;
	if (!vcpu)
		registers_find();
}

static int open_page(int fd)
{
	void *at = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		return -1;
	page = at;
	return 0;
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
	int page_fd = -1;

	if (info->version.cur < QEMU_PLUGIN_API_VERSION || info->version.min > QEMU_PLUGIN_API_VERSION) {
		fprintf(stderr,
			"ktstr-observer: this QEMU's plugin interface is of version %d to %d, not %d\n",
			info->version.min, info->version.cur, QEMU_PLUGIN_API_VERSION);
		return -1;
	}
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "page=", 5))
			page_fd = atoi(argv[i] + 5);
		else if (!strncmp(argv[i], "link=", 5))
			link_fd = atoi(argv[i] + 5);
		else if (!strcmp(argv[i], "probe=on")) {
			printf("ktstr-observer: plugin interface %d\n", info->version.cur);
			fflush(stdout);
			_exit(0);
		}
	}
	if (!info->system_emulation || strcmp(info->target_name, "x86_64") ||
	    info->system.max_vcpus > OBSERVER_VCPUS || page_fd < 0 || link_fd < 0 || open_page(page_fd)) {
		fprintf(stderr,
			"ktstr-observer: needs page=FD and link=FD, and an x86_64 machine of at most %d "
			"vCPUs\n",
			OBSERVER_VCPUS);
		return -1;
	}
	taken_generation = ~page->generation;
	take_commands();
	nr_vcpus = (uint32_t)info->system.smp_vcpus;
	page->nr_vcpus = nr_vcpus;
	page->layout = OBSERVER_LAYOUT;
	__atomic_store_n(&page->magic, OBSERVER_MAGIC, __ATOMIC_RELEASE);
	qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
