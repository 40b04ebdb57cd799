// SPDX-License-Identifier: GPL-2.0-only
/* It kicks a CPU that does not exist. */
#include "failing.bpf.h"

SEC("struct_ops/nocpu_enqueue")
void BPF_PROG(nocpu_enqueue, struct task_struct *p, u64 enq_flags)
{
	if (fails_with(p))
		scx_bpf_kick_cpu(NO_SUCH_CPU, 0);
	scx_insert(p, SCX_DSQ_LOCAL, SLICE_NS, enq_flags);
}

OPS(nocpu, .enqueue = (void *)nocpu_enqueue);
