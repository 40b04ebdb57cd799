// SPDX-License-Identifier: MIT
//
// Datagrams off a socket, many in one system call, with who sent them.
//
// A sender may attach file descriptors to a Unix datagram, and the kernel then opens them here whether they are
// wanted or not. Each is closed at once. There is room for a few only: what does not fit the kernel never opens, and
// marks the datagram, which is dropped and counted.
#ifndef KTSTR_RECV_H
#define KTSTR_RECV_H

#include "ktstr_tracker.h"

// cffi: begin
struct ktr_received {
	uint32_t taken; // datagrams that left the socket
	uint32_t count; // of these, written to `out`
	uint32_t control_truncated; // dropped: their control data did not fit
	uint32_t without_credentials; // dropped: their sender is not known
	uint32_t closed_descriptors;
	int32_t error; // errno of what ended the receiving early, 0 when nothing did
};

struct ktr_receiver;

struct ktr_receiver *ktr_receiver_create(void);
void ktr_receiver_destroy(struct ktr_receiver *r);

// Take what has come, up to `room` datagrams, without waiting. With `credentials` the sender's pid and uid are the
// kernel's own words (the socket has SO_PASSCRED).
void ktr_receive(struct ktr_receiver *r, int fd, bool credentials, uint32_t origin, struct ktb_datagram *out,
		 uint32_t room, struct ktr_received *ret);

// The same as a bare loop over recvmmsg that looks at nothing: what a receiver cannot do without, for comparison.
uint32_t ktr_receive_bare(struct ktr_receiver *r, int fd, uint32_t room);
// cffi: end

#endif
