/* SPDX-License-Identifier: MIT */
/* The loader: the process that holds a BPF scheduler. PID 1 starts it as this same binary, under LOADER_NAME. */
#ifndef KTSTR_AGENT_LOADER_H
#define KTSTR_AGENT_LOADER_H

#define LOADER_NAME "ktstr-load"

enum loader_exit {
	LOADER_DETACHED = 0, // on request
	LOADER_EJECTED = 1, // by the kernel
	LOADER_REJECTED = 2, // not opened, not verified or not attached
};

/*
 * What the two say to each other over a socket, a byte each: the loader that the kernel has verified all programs, PID 1
 * that it may attach, and the loader that it has. Where the socket is at its end, the loader leaves.
 */
#define LOADER_VERIFIED 'v'
#define LOADER_GO 'g'
#define LOADER_ATTACHED 'a'

int loader_main(const char *path, int hold_fd); // returns an enum loader_exit

#endif
