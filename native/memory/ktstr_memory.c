// SPDX-License-Identifier: MIT
#include "ktstr_memory.h"

uint32_t ktm_swap32(void *at, uint32_t value)
{
	return __atomic_exchange_n((uint32_t *)at, value, __ATOMIC_SEQ_CST);
}

uint64_t ktm_swap64(void *at, uint64_t value)
{
	return __atomic_exchange_n((uint64_t *)at, value, __ATOMIC_SEQ_CST);
}

uint32_t ktm_or32(void *at, uint32_t bits)
{
	return __atomic_fetch_or((uint32_t *)at, bits, __ATOMIC_SEQ_CST);
}
