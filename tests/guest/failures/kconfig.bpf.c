// SPDX-License-Identifier: GPL-2.0-only
/* Asks for the kernel's configuration, as most schedulers do, and leaves with what it was told. */
#include "demo.bpf.h"

extern unsigned int CONFIG_HZ __kconfig;
extern bool CONFIG_PREEMPT_RT __kconfig __weak;
extern void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 data__sz) __ksym;

SEC("struct_ops/kconfig_enqueue")
void BPF_PROG(kconfig_enqueue, struct task_struct *p, u64 enq_flags)
{
	static char format[] = "CONFIG_HZ is %llu, PREEMPT_RT is %llu";
	unsigned long long data[] = { CONFIG_HZ, CONFIG_PREEMPT_RT };

	scx_bpf_error_bstr(format, data, sizeof(data));
	scx_insert(p, SCX_DSQ_LOCAL, 0, enq_flags);
}

SEC(".struct_ops.link")
struct sched_ext_ops kconfig_ops = { .enqueue = (void *)kconfig_enqueue, .name = "kconfig" };
