// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "ktstr_recv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define RECEIVE_BYTES (KTV_FRAME_SIZE + 1) // one more than a frame, to see that a datagram is too long
#define DESCRIPTORS 4 // room for so many

union control {
	struct cmsghdr header; // for its alignment
	char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(DESCRIPTORS * sizeof(int))];
};

struct ktr_receiver {
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	union control control[BATCH];
	uint8_t unread[BATCH][RECEIVE_BYTES];
};

struct ktr_receiver *ktr_receiver_create(void)
{
	return calloc(1, sizeof(struct ktr_receiver));
}

void ktr_receiver_destroy(struct ktr_receiver *r)
{
	free(r);
}

static int receive(struct ktr_receiver *r, int fd, unsigned int wanted, bool credentials)
{
	int n;

	for (unsigned int i = 0; i < wanted; i++)
		r->messages[i].msg_hdr = (struct msghdr){
			.msg_iov = &r->pieces[i],
			.msg_iovlen = 1,
			.msg_control = credentials ? &r->control[i] : NULL,
			.msg_controllen = credentials ? sizeof(r->control[i]) : 0,
		};
	do
		n = recvmmsg(fd, r->messages, wanted, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC, NULL);
	while (n < 0 && errno == EINTR);
	return n;
}

static void close_descriptors(const struct cmsghdr *c, struct ktr_received *ret)
{
	size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		close(fd);
		ret->closed_descriptors++;
	}
}

// Read the control data of one message. False when the datagram is to be dropped.
static bool read_control(struct msghdr *message, struct ktb_datagram *out, struct ktr_received *ret)
{
	bool known = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		struct ucred sender;

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			close_descriptors(c, ret);
		} else if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(sender))) {
			memcpy(&sender, CMSG_DATA(c), sizeof(sender));
			out->peer_pid = (uint32_t)sender.pid;
			out->peer_uid = sender.uid;
			known = true;
		}
	}
	if (message->msg_flags & MSG_CTRUNC) {
		ret->control_truncated++;
		return false;
	}
	if (!known)
		ret->without_credentials++;
	return known;
}

void ktr_receive(struct ktr_receiver *r, int fd, bool credentials, uint32_t origin, struct ktb_datagram *out,
		 uint32_t room, struct ktr_received *ret)
{
	*ret = (struct ktr_received){ 0 };
	while (room - ret->count > 0) {
		uint32_t wanted = room - ret->count < BATCH ? room - ret->count : BATCH;
		struct ktb_datagram *first = &out[ret->count];
		int n;

		for (uint32_t i = 0; i < wanted; i++)
			r->pieces[i] = (struct iovec){ first[i].bytes, RECEIVE_BYTES };
		n = receive(r, fd, wanted, credentials);
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				ret->error = errno;
			return;
		}
		ret->taken += (uint32_t)n;
		for (int i = 0; i < n; i++) {
			struct ktb_datagram *datagram = &out[ret->count];

			// A datagram before this one may have been dropped: close ranks.
			if (datagram != &first[i])
				memcpy(datagram->bytes, first[i].bytes, RECEIVE_BYTES);
			datagram->length = r->messages[i].msg_len;
			datagram->source = (struct ktb_source){ .origin = origin };
			if (credentials) {
				if (!read_control(&r->messages[i].msg_hdr, datagram, ret))
					continue;
				datagram->source.known = KTB_KNOWN_PEER;
			}
			ret->count++;
		}
		// Senders that waited for room in a short queue may have filled it again: ask until it is empty.
	}
}

uint32_t ktr_receive_bare(struct ktr_receiver *r, int fd, uint32_t room)
{
	uint32_t taken = 0;

	while (taken < room) {
		unsigned int wanted = room - taken < BATCH ? room - taken : BATCH;
		int n;

		for (unsigned int i = 0; i < wanted; i++)
			r->pieces[i] = (struct iovec){ r->unread[i], RECEIVE_BYTES };
		n = receive(r, fd, wanted, false);
		if (n <= 0)
			break;
		taken += (uint32_t)n;
	}
	return taken;
}
