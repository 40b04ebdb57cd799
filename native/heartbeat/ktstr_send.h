// SPDX-License-Identifier: MIT
//
// A sender in C: beats at a given pace through a connected socket, and counts what became of them.
#ifndef KTSTR_SEND_H
#define KTSTR_SEND_H

#include <stdbool.h>

#include "ktstr_vlp.h"

// cffi: begin
struct ktr_sent {
	uint64_t sent;
	uint64_t refused; // the kernel's queue was full: the beat is given up, its nonce is not
	uint64_t failed;
	uint64_t last_nonce;
	int32_t error; // errno of the last failure
};

// Beat as `pid` for `duration_ns`: `burst` beats every `period_ns`, or without a pause when that is 0. With `wait` a full
// queue is waited for, as long as the socket's own timeout says.
void ktr_send_beats(int fd, uint32_t pid, uint64_t period_ns, uint32_t burst, uint64_t duration_ns, bool wait,
		    struct ktr_sent *ret);
// cffi: end

#endif
