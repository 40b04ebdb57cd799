// SPDX-License-Identifier: GPL-2.0-only
/* Its ops.select_cpu() names a CPU that the task may not use: the kernel silently takes another one. */
#include "failing.bpf.h"

SEC("struct_ops/misses_select_cpu")
s32 BPF_PROG(misses_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return p->nr_cpus_allowed == 1 ? prev_cpu ^ 1 : prev_cpu;
}

OPS(misses, .select_cpu = (void *)misses_select_cpu, .timeout_ms = 20000);
