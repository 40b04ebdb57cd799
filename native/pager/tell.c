// SPDX-License-Identifier: MIT
#include <string.h>
#include <sys/socket.h>

#include "pager.h"

// Who started us reads all the time; should its queue be full all the same, waiting is better than losing.
void tell(struct pager *pager, enum ktp_kind kind, uint64_t a, const char *text)
{
	struct ktp_message message = { .kind = kind, .a = a };

	if (text)
		strncpy(message.text, text, sizeof(message.text) - 1);
	send(pager->control, &message, sizeof(message), MSG_NOSIGNAL);
}
