/* SPDX-License-Identifier: MIT */
/* The machine itself: mounts, priority, kernel log, power. */
#ifndef KTSTR_AGENT_MACHINE_H
#define KTSTR_AGENT_MACHINE_H

#include <stddef.h>
#include <stdint.h>

int machine_mount(char *problem, size_t bytes); // 0, or -1 and a sentence in problem
void machine_set_fifo(int priority);
// At most three quarters of a CPU, and that much even where a scheduler under test serves nobody.
void machine_set_share(void);
void machine_send_dmesg(void); // the tail of the kernel log, as one Dmesg frame
uint64_t machine_kernel_text(void); // run-time address of _text; 0 when the kernel does not show it
void machine_power_off(void) __attribute__((noreturn));
void machine_fail(const char *how); // test aids: "panic", "hang", "reboot"

#endif
