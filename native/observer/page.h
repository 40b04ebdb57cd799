/* SPDX-License-Identifier: MIT */
/*
 * The page that the observer shares with the backend. `ktstr_tui/guest/observer_page.py` has the same offsets.
 *
 * The backend writes commands at any time (`stop`) or while the machine is held (all others, with a new `generation`);
 * the observer copies what it takes, within its bounds, and never looks at the rest. Everything below "the observer's"
 * is stable while the machine is held.
 */
#ifndef OBSERVER_PAGE_H
#define OBSERVER_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define OBSERVER_MAGIC 0x4f42534bu
#define OBSERVER_LAYOUT 5
#define OBSERVER_VCPUS 256
#define OBSERVER_PROBES 1024
#define OBSERVER_WATCHES 16384
#define OBSERVER_REGISTERS 33
#define OBSERVER_NOTED 256 // functions, and ranges, that are noted
#define OBSERVER_NOTES 4096 // that are kept, the newest

enum observer_reason {
	OBSERVER_COUNT = 1, // `hold_at` instructions were executed
	OBSERVER_STEP, // a multiple of `step` was, or the guest's clock has come to `clock_due`
	OBSERVER_STOP, // the backend asked
	OBSERVER_WRITE, // a store into a watched range
	OBSERVER_CALL, // a block of code is about to be executed that has a probed address in it: `address`
	OBSERVER_TURN, // a vCPU executes that never did before: `turn_vcpu` is to say which one
	OBSERVER_NEXT, // the vCPU of `next_of` is about to execute another block
};

struct observer_range {
	uint64_t first, last; // addresses of bytes, both inside
};

struct observer_note {
	uint64_t began, ended; // the block: instructions executed before it, and with it
	uint64_t address; // of the store, or of the probe
	uint64_t next_ip; // behind the store; where the block begins for a probe
	uint64_t value; // what was stored, its low 8 bytes
	uint32_t vcpu, width; // width in bytes, 0 for a probe
};

struct observer_page {
	uint32_t magic, layout; // written when the observer is ready
	uint32_t nr_vcpus;
	uint32_t refused; // commands that were out of bounds, and so not taken

	// The backend's.
	uint32_t stop; // hold as soon as possible
	uint32_t generation; // another number: take the ranges and probes anew
	uint64_t hold_at; // hold once, when so many instructions were executed; 0 for never
	uint64_t step; // hold at each multiple; 0 for never
	uint32_t nr_watches, nr_probes;

	// The observer's.
	uint32_t reason, vcpu; // why the machine is held, and on which vCPU
	uint64_t total; // instructions executed by all vCPUs
	uint64_t address; // of the store, or of the instruction
	uint64_t value_low, value_high; // what was stored
	uint64_t next_ip; // where the vCPU goes on
	uint32_t width; // bytes stored
	uint32_t in_block; // held within a block, whose instructions are counted already
	uint64_t holds; // since the start
	uint64_t registers_known; // a bit for each that could be read
	uint64_t registers[OBSERVER_REGISTERS]; // of the vCPU that holds

	// The backend's, taken with a new generation: what is noted, see notes.h.
	uint32_t nr_noted_ranges, nr_noted_probes;
	uint32_t note_vcpu, pad; // whose blocks, from 1; 0 for nobody's
	// The observer's: how much it noted so far; what is kept of it is in the rings.
	uint64_t nr_notes, nr_begun;
	uint8_t reserved[488 - 416];
	uint32_t turn_vcpu; // the backend's: its answer
	uint32_t next_of; // the backend's: hold at the next block of this vCPU, from 1; 0 for never
	// The backend's: hold once a value of at least `clock_due` is stored at `clock_address`.
	uint64_t clock_address, clock_due;
	uint64_t counts[OBSERVER_VCPUS]; // instructions executed by each vCPU
	uint8_t more[4096 - 512 - 8 * OBSERVER_VCPUS];

	// The backend's: ascending, ranges disjoint.
	uint64_t probes[OBSERVER_PROBES];
	struct observer_range watches[OBSERVER_WATCHES];
	uint64_t noted_probes[OBSERVER_NOTED];
	struct observer_range noted_ranges[OBSERVER_NOTED];

	// The observer's.
	uint64_t begun[OBSERVER_NOTES]; // instructions executed before each block
	struct observer_note notes[OBSERVER_NOTES];
	uint8_t last[2048];
};

_Static_assert(offsetof(struct observer_page, stop) == 16, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, reason) == 48, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, registers_known) == 112, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, registers) == 120, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, turn_vcpu) == 488, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, next_of) == 492, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, clock_address) == 496, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, counts) == 512, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, probes) == 4096, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, watches) == 12288, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, nr_noted_ranges) == 384, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, note_vcpu) == 392, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, nr_notes) == 400, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, noted_probes) == 274432, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, noted_ranges) == 276480, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, begun) == 280576, "as in observer_page.py");
_Static_assert(offsetof(struct observer_page, notes) == 313344, "as in observer_page.py");
_Static_assert(sizeof(struct observer_page) == 512000, "as in observer_page.py");

#endif
