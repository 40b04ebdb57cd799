// SPDX-License-Identifier: MIT
//
// What is asked of the pager: over its control socket, and over the one that the shim has.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pager.h"

struct asked {
	struct ktp_message message;
	int uffd; // or -1
	pid_t sender;
};

static void take_control(struct msghdr *header, struct asked *asked)
{
	for (struct cmsghdr *it = CMSG_FIRSTHDR(header); it; it = CMSG_NXTHDR(header, it)) {
		struct ucred sender;

		if (it->cmsg_level != SOL_SOCKET)
			continue;
		if (it->cmsg_type == SCM_RIGHTS && it->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&asked->uffd, CMSG_DATA(it), sizeof(int));
		if (it->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&sender, CMSG_DATA(it), sizeof(sender));
			asked->sender = sender.pid;
		}
	}
}

static ssize_t receive(int from, struct asked *asked)
{
	char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
	struct iovec body = { &asked->message, sizeof(asked->message) };
	struct msghdr header = {
		.msg_iov = &body,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got;

	*asked = (struct asked){ .uffd = -1 };
	got = recvmsg(from, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got > 0)
		take_control(&header, asked);
	return got;
}

static void reply(int to, const struct asked *asked, const char *refused)
{
	struct ktp_message message = { .kind = refused ? KTP_REFUSED : KTP_DONE, .id = asked->message.id };

	if (refused)
		strncpy(message.text, refused, sizeof(message.text) - 1);
	send(to, &message, sizeof(message), MSG_NOSIGNAL);
}

static const char *take_region(struct pager *pager, struct asked *asked)
{
	const char *refused = asked->uffd < 0 ? "no userfaultfd came with it"
					      : refuse_region(pager, &asked->message, asked->sender);

	if (refused)
		return refused;
	pager->regions[pager->nr_regions++] = (struct region){
		.uffd = asked->uffd,
		.base = asked->message.a,
		.bytes = asked->message.b,
		.offset = asked->message.c,
		.target = asked->sender,
		.target_fd = (int)syscall(SYS_pidfd_open, asked->sender, 0),
	};
	asked->uffd = -1;
	prewarm(pager);
	return NULL;
}

static const char *load(struct pager *pager, const struct ktp_message *asked)
{
	uint64_t pages = pager->shared->pages;

	if (asked->b > pages || asked->a > pages - asked->b)
		return "the pages end behind the image";
	return load_now(pager, asked->a, asked->b) ? NULL : pager->source.why;
}

bool take_request(struct pager *pager, int from)
{
	struct asked asked;
	ssize_t got = receive(from, &asked);
	const char *refused = NULL;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0)
		return false;
	if (got != sizeof(asked.message))
		refused = "a request of another size";
	else if (asked.message.kind == KTP_REGISTER)
		refused = take_region(pager, &asked);
	else if (asked.message.kind == KTP_FILL && from == pager->control)
		pager->fill = asked.message.a;
	else if (asked.message.kind == KTP_LOAD)
		refused = load(pager, &asked.message);
	else if (asked.message.kind != KTP_SHUT_DOWN || from != pager->control)
		refused = "an unknown request";
	if (asked.uffd >= 0)
		close(asked.uffd);
	reply(from, &asked, refused);
	return refused || asked.message.kind != KTP_SHUT_DOWN;
}
