// SPDX-License-Identifier: MIT
//
// Keeps a copy of a guest's memory up to date: only pages that differ are written.
//
// The copy is made twice, first beside the running guest and then while it is stopped. The second time nearly every page
// is the same, so the pause costs one read of both and few writes, no page of the copy is touched for the first time,
// and no cache line of it becomes dirty for nothing.
#ifndef KTSTR_COPY_H
#define KTSTR_COPY_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
// Copy the pages of `from` that differ from those of `to`; `bytes` is a multiple of 4096. Returns how many there were.
uint64_t ktm_copy_changed(void *to, const void *from, size_t bytes);
// cffi: end

#endif
