/* SPDX-License-Identifier: MIT */
/* The hostile guest's end of the bulk port, and the made-up numbers that it sends. */
#ifndef HOSTILE_PORT_H
#define HOSTILE_PORT_H

#include <stddef.h>
#include <stdint.h>

#include "frames/ktstr_frames.h"

extern int port; // -1 before find_port
extern uint64_t sent; // bytes so far

void find_port(void); // returns when it is there
void send_bytes(const void *data, size_t bytes); // powers off when the port breaks
void send_header(uint32_t msg_type, uint32_t length, uint32_t crc, uint32_t pad);
void send_frame(uint32_t msg_type, const void *payload, uint32_t bytes);
void wait_for_shutdown(int within_ms);

uint64_t next(void); // the same numbers in every run
void make_noise(void); // before any_noise
uint32_t any_type(void); // of the known ones
const uint8_t *any_noise(uint32_t bytes);

#endif
