// SPDX-License-Identifier: GPL-2.0-only
/* A scheduler that leaves by itself after some hundred tasks, with an exit code, as one does that finds the topology changed. */
#include "demo.bpf.h"

extern void scx_bpf_exit_bstr(__s64 exit_code, char *fmt, unsigned long long *data, u32 data__sz) __ksym;

u64 enqueued;

SEC("struct_ops/exits_enqueue")
void BPF_PROG(exits_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char format[] = "topology changed under %llu";
	unsigned long long data[] = { 7 };

	if (++enqueued == 300)
		scx_bpf_exit_bstr(0x42, format, data, sizeof(data));
	scx_insert(p, SCX_DSQ_LOCAL, 0, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops exits_ops = { .enqueue = (void *)exits_enqueue, .name = "exits" };
