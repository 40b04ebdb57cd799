// SPDX-License-Identifier: GPL-2.0-only
/* It puts every task into the local DSQ of CPU 0. */
#include "failing.bpf.h"

SEC("struct_ops/crowd_enqueue")
void BPF_PROG(crowd_enqueue, struct task_struct *p, u64 enq_flags)
{
	bool is_bound = p->flags & PF_KTHREAD || p->nr_cpus_allowed == 1;

	scx_insert(p, is_bound ? SCX_DSQ_LOCAL : SCX_DSQ_LOCAL_ON, SLICE_NS, enq_flags);
}

OPS(crowd, .enqueue = (void *)crowd_enqueue, .timeout_ms = 20000);
