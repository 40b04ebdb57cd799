// SPDX-License-Identifier: GPL-2.0-only
/* It wants virtual time in a local DSQ, which knows only the order of arrival. */
#include "failing.bpf.h"

SEC("struct_ops/vtime_enqueue")
void BPF_PROG(vtime_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (fails_with(p))
		scx_bpf_dsq_insert_vtime(p, SCX_DSQ_LOCAL, SLICE_NS, 0, enq_flags);
	else
		scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

OPS(vtime, .enqueue = (void *)vtime_enqueue);
