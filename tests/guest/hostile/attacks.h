/* SPDX-License-Identifier: MIT */
/* What a guest can say that it should not, one function each. */
#ifndef HOSTILE_ATTACKS_H
#define HOSTILE_ATTACKS_H

#include <stddef.h>

extern void (*const attacks[])(void);
extern const size_t nr_attacks;

#endif
