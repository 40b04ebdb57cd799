/* SPDX-License-Identifier: MIT */
/* The files of a run, which the host gives as a cpio archive ("newc", as an initramfs is), written to the root. */
#ifndef KTSTR_AGENT_UNPACK_H
#define KTSTR_AGENT_UNPACK_H

#include <stddef.h>

// Read the archive of this name from fw_cfg and write its directories and regular files. Returns 0, or -1 and what is wrong.
int unpack_files(const char *name, char *problem, size_t bytes);

#endif
