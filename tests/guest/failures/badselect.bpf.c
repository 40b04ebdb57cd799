// SPDX-License-Identifier: GPL-2.0-only
/* Its ops.select_cpu() returns a CPU that does not exist. */
#include "failing.bpf.h"

SEC("struct_ops/badselect_select_cpu")
s32 BPF_PROG(badselect_select_cpu, struct task_struct *p, s32 prev_cpu, u64 wake_flags)
{
	return fails_with(p) ? NO_SUCH_CPU : prev_cpu;
}

OPS(badselect, .select_cpu = (void *)badselect_select_cpu);
