/* SPDX-License-Identifier: MIT */
/* The registers of the vCPU whose turn it is, as QEMU gives them to a plugin by name. */
#ifndef OBSERVER_REGISTERS_H
#define OBSERVER_REGISTERS_H

#include <stdint.h>

/* Ask QEMU which registers it has; when the first vCPU is there. */
void registers_find(void);
/* Read those of the page, in its order, and return a bit for each that could be read. */
uint64_t registers_read(uint64_t next_ip, uint64_t *into);

#endif
