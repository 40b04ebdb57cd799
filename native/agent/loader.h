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

int loader_main(const char *path); // returns an enum loader_exit

#endif
