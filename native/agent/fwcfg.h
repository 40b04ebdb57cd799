/* SPDX-License-Identifier: MIT */
/*
 * Files that the host gives with QEMU's -fw_cfg, read from the device itself.
 *
 * No driver is needed, and what is read is what the running QEMU was started with: a guest that goes on from a saved
 * boot finds the files of its own run, not those of the run that was saved.
 *
 * The device copies into memory by physical address (docs/specs/fw_cfg.rst of QEMU, "Guest-side DMA Interface"). So
 * the place of the buffer is looked up in /proc/self/pagemap before and after each copy; that the kernel moves a locked
 * page in between is noticed, and the read fails.
 */
#ifndef KTSTR_AGENT_FWCFG_H
#define KTSTR_AGENT_FWCFG_H

#include <stddef.h>
#include <stdint.h>

#define FWCFG_PIECE_BYTES 4096u // of one read, at most

// Open a file by its name. Returns its size in bytes, or -1 and what is wrong.
long fwcfg_open(const char *name, char *problem, size_t bytes);
// Read the next piece of the open file. Returns 0, or -1 and what is wrong.
int fwcfg_read(void *to, uint32_t length, char *problem, size_t bytes);
void fwcfg_close(void);

#endif
