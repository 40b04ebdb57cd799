// SPDX-License-Identifier: GPL-2.0-only
/* It inserts one task twice. */
#include "failing.bpf.h"

SEC("struct_ops/twice_enqueue")
void BPF_PROG(twice_enqueue, struct task_struct *p, u64 enq_flags)
{
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
	if (fails_with(p))
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

OPS(twice, .enqueue = (void *)twice_enqueue);
