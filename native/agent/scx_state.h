/* SPDX-License-Identifier: MIT */
/* What the kernel says about sched_ext: asked by PID 1 and by the loader. */
#ifndef KTSTR_AGENT_SCX_STATE_H
#define KTSTR_AGENT_SCX_STATE_H

#include <stdbool.h>

#define SCX_STATE_PATH "/sys/kernel/sched_ext/state"

bool scx_enabled(void);
bool scx_disabled(void); // also when this kernel has no sched_ext

#endif
