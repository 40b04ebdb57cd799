/* SPDX-License-Identifier: MIT */
/*
 * Whose turn it is among vCPUs that share one host thread.
 *
 * The number of the vCPU that QEMU gives a callback cannot be used: QEMU 10 writes it into a block of code when it
 * translates it, and with one thread all vCPUs execute the same translated blocks, so that it is that of whichever vCPU
 * came by first. What does differ is where the emulation keeps the state of the vCPU that executes. Translated code on
 * an x86-64 host has that address in %rbp, and a callback of a block is called by translated code. Which number belongs
 * to such an address is asked once for each, of whoever can compare the registers.
 */
#ifndef OBSERVER_TURNS_H
#define OBSERVER_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

struct turns {
	const void *now; // state of the vCPU whose turn it is
	uint32_t vcpu; // its number
	uint32_t nr;
	const void *states[OBSERVER_VCPUS];
	uint32_t numbers[OBSERVER_VCPUS];
};

/* Begin the turn of a vCPU by its state. Returns false, and begins nothing, when it was never seen. */
bool turns_begin(struct turns *turns, const void *state);
/* Remember the number of a state that was never seen. Returns false when it is not below `nr_vcpus`, or is another's. */
bool turns_learn(struct turns *turns, const void *state, uint32_t number, uint32_t nr_vcpus);

#endif
