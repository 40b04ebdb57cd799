// What Python sees of the memory code: declarations in cffi's dialect, equal to those of the header.

// memory/ktstr_memory.h
uint32_t ktm_swap32(void *at, uint32_t value);
uint64_t ktm_swap64(void *at, uint64_t value);
uint32_t ktm_or32(void *at, uint32_t bits);
