// SPDX-License-Identifier: GPL-2.0-only
/* Its ops.enqueue() loops for long, once, with the runqueue locked and interrupts off. No ejection. */
#include "failing.bpf.h"

#define LOOPS (1 << 23) // the most that bpf_loop() does: half a second of CPU time under emulation

bool has_looped;
u64 sum_ns;

static int loop(u64 index, void *context)
{
	sum_ns += bpf_ktime_get_ns();
	return 0;
}

SEC("struct_ops/hogs_enqueue")
void BPF_PROG(hogs_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (!has_looped && fails_with(p)) {
		has_looped = true;
		for (int i = 0; i < 3; i++)
			bpf_loop(LOOPS, loop, NULL, 0);
	}
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

OPS(hogs, .enqueue = (void *)hogs_enqueue, .timeout_ms = 30000);
