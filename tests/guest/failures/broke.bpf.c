// SPDX-License-Identifier: GPL-2.0-only
/* After a while it gives up with an error of its own, and says something of itself in ops.dump(). */
#include "scx_min.bpf.h"

#define GOOD_INSERTS 200

char _license[] SEC("license") = "GPL";
u64 inserted;

extern void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;
extern void scx_bpf_dump_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;

SEC("struct_ops/broke_enqueue")
void BPF_PROG(broke_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char reason[] = "no budget for pid %llu";
	unsigned long long data[] = { p->pid };

	if (__sync_fetch_and_add(&inserted, 1) < GOOD_INSERTS || p->flags & PF_KTHREAD) {
		scx_insert(p, SCX_DSQ_LOCAL, 5 * NSEC_PER_MSEC, enq_flags);
		return;
	}
	scx_bpf_error_bstr(reason, data, sizeof(data));
}

SEC("struct_ops/broke_dump")
void BPF_PROG(broke_dump, struct scx_dump_ctx *dump_ctx)
{
	static char format[] = "broke: the budget is spent after %llu inserts";
	unsigned long long data[] = { inserted };

	scx_bpf_dump_bstr(format, data, sizeof(data));
}

SEC(".struct_ops.link")
struct sched_ext_ops broke_ops = {
	.enqueue = (void *)broke_enqueue,
	.dump = (void *)broke_dump,
	.timeout_ms = 5000,
	.name = "broke",
};
