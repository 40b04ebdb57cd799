// SPDX-License-Identifier: GPL-2.0-only
/* It starves the kworkers that run the watchdog, and nobody else. */
#include "failing.bpf.h"

SEC("struct_ops/nowatchdog_enqueue")
void BPF_PROG(nowatchdog_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (IS_WORKER(p, "kworker/u") && __sync_fetch_and_add(&inserted, 1) >= 3) {
		scx_insert(p, QUEUE, SLICE_NS, enq_flags); // which nobody serves
		return;
	}
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

SEC("struct_ops.s/nowatchdog_init")
s32 BPF_PROG(nowatchdog_init)
{
	return scx_bpf_create_dsq(QUEUE, -1);
}

OPS(nowatchdog, .enqueue = (void *)nowatchdog_enqueue, .init = (void *)nowatchdog_init, .timeout_ms = 2000);
