// SPDX-License-Identifier: MIT
#ifndef KTSTR_REFUSAL_H
#define KTSTR_REFUSAL_H

#include <stdbool.h>
#include <stddef.h>

enum { REFUSAL_LINE_BYTES = 512 };

// Who refused a scheduler. The numbers are those of SchedReply.
enum refuser {
	REFUSER_NOBODY,
	REFUSER_LIBBPF,
	REFUSER_VERIFIER,
	REFUSER_KERNEL,
	REFUSER_PROGRAM,
};

// What was read of one scheduler's output.
struct refusal {
	char line[REFUSAL_LINE_BYTES]; // the one that is being read
	size_t length;
	bool in_log; // between the marks of a verifier's log
	char last[REFUSAL_LINE_BYTES];
	char source[REFUSAL_LINE_BYTES];
	char verifier[REFUSAL_LINE_BYTES];
	char reason[REFUSAL_LINE_BYTES + 256];
	enum refuser who; // gave the reason
};

// Forget what was read; call this before another scheduler starts.
void refusal_reset(struct refusal *seen);

// Read more of what a scheduler prints. Lines may come in pieces.
void refusal_read(struct refusal *seen, const char *text, size_t bytes);

// Say in one line who refused the scheduler and why. Returns false when nothing that was read explains it.
bool refusal_reason(struct refusal *seen, char *reason, size_t bytes);

// The last line that was printed, whatever it says; empty when there was none.
const char *refusal_last_line(struct refusal *seen);

#endif
