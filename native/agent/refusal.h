// SPDX-License-Identifier: MIT
#ifndef KTSTR_REFUSAL_H
#define KTSTR_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

// Forget what was read; call this before another scheduler starts.
void refusal_reset(void);

// Read more of what a scheduler prints. Lines may come in pieces.
void refusal_read(const char *text, size_t bytes);

// Say in one line who refused the scheduler and why. Returns false when nothing that was read explains it.
bool refusal_reason(char *reason, size_t bytes);

// The last line that was printed, whatever it says; empty when there was none.
const char *refusal_last_line(void);

#endif
