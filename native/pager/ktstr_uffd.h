// SPDX-License-Identifier: MIT
//
// The side that is paged: memory whose missing pages a pager in another process brings.
//
// It is used twice: by the shim that QEMU loads, for the guest's RAM, and by whoever else maps that RAM to read it.
// Such a reader must not touch a missing page through a mapping that is not registered: the kernel would make a page of
// zeros of it, for the guest, too.
#ifndef KTSTR_UFFD_H
#define KTSTR_UFFD_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
// Make a userfaultfd that sees faults of the kernel, too, and changes of the mapping. Returns it, or -1 with errno.
int ktp_open(void);
// Register memory with it. Returns 0, or -1 with errno.
int ktp_watch(int uffd, uint64_t base, uint64_t bytes);
// Read a byte of `count` pages that are `stride` bytes apart, and write how long each took where `ns` is not NULL.
// Returns their sum.
uint64_t ktp_touch(const void *base, const uint32_t *pages, size_t count, uint64_t *ns);
// Serve faults with pread and a copy and nothing else, until the descriptor `stop` is readable; the floor of the bench.
// Returns how many there were.
uint64_t ktp_serve_bare(int uffd, uint64_t base, int image, int stop);
// cffi: end

#endif
