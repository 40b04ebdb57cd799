// SPDX-License-Identifier: MIT
//
// Writes into the memory of a running guest, each a single instruction that no vCPU sees half done.
//
// The guest's CPUs and this process share the memory, so the host's atomic instructions are those of one CPU more.
// The value that was there comes back from the same instruction: nothing can have changed in between. An emulator
// that runs all vCPUs on one thread does not lock its own read-modify-write instructions; there only a store is
// whole, and an OR may be lost to one of theirs.
#ifndef KTSTR_MEMORY_H
#define KTSTR_MEMORY_H

#include <stdint.h>

// cffi: begin
// All take an address that is aligned to the size and return what was there before.
uint32_t ktm_swap32(void *at, uint32_t value);
uint64_t ktm_swap64(void *at, uint64_t value);
uint32_t ktm_or32(void *at, uint32_t bits);
// cffi: end

#endif
