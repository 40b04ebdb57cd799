// SPDX-License-Identifier: GPL-2.0-only
/* It puts a task into the local DSQ of a CPU that the task may not use. */
#include "failing.bpf.h"

SEC("struct_ops/forbidden_enqueue")
void BPF_PROG(forbidden_enqueue, struct task_struct *p, u64 enq_flags)
{
	u64 dsq_id = SCX_DSQ_LOCAL;

	if (p->nr_cpus_allowed == 1 && fails_with(p))
		dsq_id = SCX_DSQ_LOCAL_ON | (scx_bpf_task_cpu(p) ^ 1);
	scx_insert(p, dsq_id, SLICE_NS, enq_flags);
}

OPS(forbidden, .enqueue = (void *)forbidden_enqueue);
