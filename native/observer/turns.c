// SPDX-License-Identifier: MIT
#include "turns.h"

bool turns_begin(struct turns *turns, const void *state)
{
	for (uint32_t i = 0; i < turns->nr; i++) {
		if (turns->states[i] == state) {
			turns->now = state;
			turns->vcpu = turns->numbers[i];
			return true;
		}
	}
	return false;
}

bool turns_learn(struct turns *turns, const void *state, uint32_t number, uint32_t nr_vcpus)
{
	if (number >= nr_vcpus || turns->nr >= OBSERVER_VCPUS)
		return false;
	for (uint32_t i = 0; i < turns->nr; i++) {
		if (turns->numbers[i] == number)
			return false;
	}
	turns->states[turns->nr] = state;
	turns->numbers[turns->nr++] = number;
	return true;
}
