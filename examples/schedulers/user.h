/* SPDX-License-Identifier: MIT */
/* What user.bpf.c and user.c say to each other. */
#ifndef USER_H
#define USER_H

/* A task that waits for a decision. */
struct waiting_task {
	unsigned int pid;
	unsigned int weight; /* 100 at nice 0 */
	unsigned long long ran_ns; /* since it was made */
};

#endif
