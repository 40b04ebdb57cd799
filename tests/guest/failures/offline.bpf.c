// SPDX-License-Identifier: GPL-2.0-only
/* It survives that CPU 1 goes offline, and goes on queueing for it. */
#include "failing.bpf.h"

u64 offlined;

SEC("struct_ops/offline_enqueue")
void BPF_PROG(offline_enqueue, struct task_struct *p, u64 enq_flags)
{
	// Not before the CPU goes, and not its own program, which would never get as far as taking it offline.
	scx_insert(p, offlined && IS_WORKER(p, "mixed") ? PER_CPU + 1 : SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops/offline_dispatch")
void BPF_PROG(offline_dispatch, s32 cpu, struct task_struct *prev)
{
	scx_move_to_local(PER_CPU + cpu);
}

SEC("struct_ops.s/offline_cpu_online")
void BPF_PROG(offline_cpu_online, s32 cpu)
{
}

SEC("struct_ops.s/offline_cpu_offline")
void BPF_PROG(offline_cpu_offline, s32 cpu)
{
	offlined++;
}

SEC("struct_ops.s/offline_init")
s32 BPF_PROG(offline_init)
{
	return create_per_cpu();
}

OPS(offline, .enqueue = (void *)offline_enqueue, .dispatch = (void *)offline_dispatch,
    .cpu_online = (void *)offline_cpu_online, .cpu_offline = (void *)offline_cpu_offline,
    .init = (void *)offline_init, .timeout_ms = 4000);
