"""Stacks, lines of the kernel log and maps of the story's captures."""

from __future__ import annotations

import math

from ktstr_tui.model import report as rp


def _frames(*names: str) -> tuple[rp.StackFrame, ...]:
    return tuple(
        rp.StackFrame(0xFFFFFFFF81000000 + 0x1357 * number, name) for number, name in enumerate(names, 1)
    )


EXIT_STACK = _frames(
    "scx_vexit+0x5b", "__scx_exit+0x4f", "scx_watchdog_workfn+0x11c", "process_one_work+0x18e", "worker_thread+0x1a2",
    "kthread+0xe4", "ret_from_fork+0x2b1", "ret_from_fork_asm+0x1a",
)  # fmt: skip
IDLE_STACK = _frames(
    "default_idle+0xf", "default_idle_call+0x32", "do_idle+0x1ff", "cpu_startup_entry+0x29", "start_secondary+0x118",
    "common_startup_64+0x13e",
)  # fmt: skip
PREEMPTED_STACK = _frames(
    "__schedule+0x4c5",
    "schedule+0x27",
    "irqentry_exit_to_user_mode+0x1b3",
    "asm_sysvec_apic_timer_interrupt+0x1a",
)
DMESG = (
    '[   21.991204] sched_ext: BPF scheduler "stall" enabled',
    '[   30.100873] sched_ext: BPF scheduler "stall" disabled (runnable task stall)',
    "[   30.101204] sched_ext: stall: spin-1[201] failed to run for 4.100s",
)


def maps() -> tuple[rp.MapReport, ...]:
    bss = {"nr_enqueued": 40213, "nr_dispatched": 40207, "stop_at_ns": 26000000000, "stopped": True}
    per_cpu = [{"local": 0, "shared": 20110}, {"local": 0, "shared": 20103}]
    return (
        rp.MapReport(id=12, name="stall.bss", map_type="array", key_size=4, value_size=32, max_entries=1,
                     entries=(rp.MapEntry(0, bss),)),
        rp.MapReport(id=13, name="stats", map_type="percpu_array", key_size=4, value_size=16, max_entries=10240,
                     entries=(rp.MapEntry(0, per_cpu),), truncated=True),
        rp.MapReport(id=14, name="stall_ops", map_type="struct_ops", key_size=4, value_size=1344, max_entries=1,
                     error="struct_ops values are not rendered"),
    )  # fmt: skip


REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{number}" for number in range(8, 16)))
"""Of a vCPU, besides those that mean something in the story."""


def wave(cpu: int, t_s: float, period_s: float) -> float:
    return 0.5 + 0.5 * math.sin(2 * math.pi * (t_s / period_s + cpu * 0.17))
