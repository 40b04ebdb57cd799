// SPDX-License-Identifier: MIT
//
// BLAKE2b without a key (RFC 7693), the digest of pages in the store.
#ifndef KTSTR_BLAKE2B_H
#define KTSTR_BLAKE2B_H

#include <stddef.h>
#include <stdint.h>

// cffi: begin
// Write the digest of `bytes` bytes at `data`; `digest_bytes` is 1 to 64.
void ktp_blake2b(uint8_t *digest, size_t digest_bytes, const uint8_t *data, size_t bytes);
// cffi: end

#endif
