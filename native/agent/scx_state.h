/* SPDX-License-Identifier: MIT */
/* What the kernel says about sched_ext: asked by PID 1 and by the loader. */
#ifndef KTSTR_AGENT_SCX_STATE_H
#define KTSTR_AGENT_SCX_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define SCX_STATE_PATH "/sys/kernel/sched_ext/state"
#define SCX_ENABLE_SEQ_PATH "/sys/kernel/sched_ext/enable_seq"

bool scx_enabled(void);
bool scx_counts_enables(void); // whether this kernel has enable_seq
// How many schedulers this kernel has enabled since boot; 0 where it does not count them.
uint64_t scx_enable_seq(void);
bool scx_disabled(void); // also when this kernel has no sched_ext

#endif
