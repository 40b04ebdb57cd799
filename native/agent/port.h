/* SPDX-License-Identifier: MIT */
/*
 * The bulk port: a bounded queue of frames in front of a virtio-serial port that is never waited for.
 *
 * The host may be slow, stopped or absent. Writes are non-blocking; what cannot be written waits in a queue of
 * PORT_QUEUE_BYTES. Frames that can be missed (text, worker reports, beats) are refused when the queue holds
 * PORT_TEXT_BYTES, so that the rest is kept for frames that matter. Every refused frame is counted, and reported to
 * the host in a Stderr line once the queue has room.
 */
#ifndef KTSTR_AGENT_PORT_H
#define KTSTR_AGENT_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PORT_NAME "ktstr-bulk"
#define PORT_QUEUE_BYTES (1u << 20)
#define PORT_TEXT_BYTES (PORT_QUEUE_BYTES / 4 * 3)
#define PORT_RECEIVE_MAX 40960 // largest payload that the host sends: a piece of an object

// The device of a port, found by the port's name: the number depends on what else the machine has.
bool port_find(const char *name, char *path, size_t bytes);
int port_open(uint64_t deadline_ns); // 0, or -1 when no such port appeared
int port_fd(void);
bool port_connected(void); // false while the host's end is closed
void port_note_hangup(void); // poll said that the host's end is closed
bool port_pending(void); // frames wait to be written
void port_send(uint32_t msg_type, const void *payload, uint32_t bytes);
void port_flush(void); // write what the port takes now
// Take the next whole frame from the host: true and its type, payload and size, else false.
bool port_receive(uint32_t *msg_type, const uint8_t **payload, uint32_t *bytes);
uint64_t port_damaged(void); // frames from the host that came damaged, and were passed over

#endif
