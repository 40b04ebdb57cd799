"""What the guest's kernel is told to record of itself: the part of its command line that switches its trace on.

The kernel then keeps the last events of each CPU in memory, from where they are read without the guest's help.
Tracing is switched on at boot, not by a program in the guest, so it belongs to what a guest is started as.

Probes are made by the kernel itself from its own types (``CONFIG_PROBE_EVENTS_BTF_ARGS``). One that names a function
or a member that a kernel does not have is left out by it, with a line in its log.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.model.errors import UsageError

TraceMode: TypeAlias = Literal["sched", "scx", "off"]

DEFAULT_BUFFER_KIB: Final = 512
"""Per CPU: about ten seconds of a busy CPU."""
MIN_BUFFER_KIB: Final = 16
MAX_EVENTS: Final = 32
_SMALLEST_DEFAULT_KIB: Final = 64
_DEFAULT_SHARE: Final = 16
"""By default the buffers of all CPUs take at most this part of the guest's memory."""
_LARGEST_SHARE: Final = 4
_EVENT: Final = re.compile(r"[A-Za-z0-9_]+:(?:[A-Za-z0-9_]+|\*)")

SCHED_EVENTS: Final = (
    "sched:sched_switch",
    "sched:sched_wakeup",
    "sched:sched_wakeup_new",
    "sched:sched_waking",
    "sched:sched_migrate_task",
    "sched:sched_process_exit",
)
SCX_EVENTS: Final = ("sched_ext:sched_ext_dump",)
SCX_PROBES: Final = (
    "ktstr_enqueue,do_enqueue_task,pid=p->pid:s32",
    "ktstr_insert,dispatch_enqueue,pid=p->pid:s32,dsq=dsq->id:u64",
    "ktstr_remove,task_unlink_from_dsq,pid=p->pid:s32,dsq=dsq->id:u64",
    "ktstr_move,move_remote_task_to_local_dsq,pid=p->pid:s32,cpu=dst_rq->cpu:s32",
    "ktstr_kick,scx_kick_cpu,cpu=cpu:s32",
    "ktstr_bypass,scx_bypass,on=bypass:u8",
)
"""Name, function of kernel/sched/ext.c, and what is taken of its arguments."""

NO_COMMS_ARGUMENT: Final = "trace_options=norecord-cmd"
"""Has the kernel keep no table of the comms of pids, which readers in the guest would look at: events have comms in
them. It would be written at each switch and each wakeup, a fifth of what recording costs."""
BPF_STATS_ARGUMENT: Final = "sysctl.kernel.bpf_stats_enabled=1"
"""Has the kernel count runs of BPF programs; it sets sysctls of its command line before its first program starts."""


class RecorderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded."""

    mode: TraceMode = "sched"
    events: tuple[str, ...] = ()
    """More events of the kernel, ``SYSTEM:NAME`` or ``SYSTEM:*``."""
    buffer_kib: int | None = None
    """Memory per CPU; None for `DEFAULT_BUFFER_KIB`, less in a small guest with many CPUs."""


def check_recorder(config: RecorderConfig) -> RecorderConfig:
    """Return the configuration itself.

    Raises:
        UsageError: It asks for what no kernel understands.
    """
    if config.mode == "off" and (config.events or config.buffer_kib is not None):
        raise UsageError("--trace off records no events", "leave out --trace-events and --trace-buffer")
    if len(config.events) > MAX_EVENTS:
        raise UsageError(f"--trace-events names {len(config.events)} events", f"name at most {MAX_EVENTS}")
    for name in config.events:
        if not _EVENT.fullmatch(name):
            raise UsageError(
                f"{name!r} does not name a trace event", "write SYSTEM:NAME, such as irq:softirq_raise"
            )
    if config.buffer_kib is not None and config.buffer_kib < MIN_BUFFER_KIB:
        raise UsageError(
            f"a trace buffer of {config.buffer_kib} KiB is too small", f"give at least {MIN_BUFFER_KIB}K"
        )
    return config


def buffer_kib(config: RecorderConfig, cpus: int, memory_mib: int) -> int:
    """Return the memory of each CPU's buffer in KiB.

    Raises:
        UsageError: The buffers would take more than a quarter of the guest's memory.
    """
    if config.buffer_kib is None:
        fair = memory_mib * 1024 // _DEFAULT_SHARE // cpus
        return min(DEFAULT_BUFFER_KIB, max(_SMALLEST_DEFAULT_KIB, fair))
    if config.buffer_kib * cpus > memory_mib * 1024 // _LARGEST_SHARE:
        raise UsageError(
            f"trace buffers of {config.buffer_kib} KiB for {cpus} CPUs take more than a quarter of the guest's memory",
            "give less with --trace-buffer, or more with --memory",
        )
    return config.buffer_kib


def recorder_arguments(config: RecorderConfig, cpus: int, memory_mib: int) -> str:
    """Return the words of the kernel's command line; none when nothing is recorded.

    Args:
        config: What is to be recorded.
        cpus: Of the guest.
        memory_mib: Its memory.

    Raises:
        UsageError: See `buffer_kib`.
    """
    if config.mode == "off":
        return ""
    with_scx = config.mode == "scx"
    events = (*SCHED_EVENTS, *(SCX_EVENTS if with_scx else ()), *config.events)
    words = [
        f"trace_event={','.join(events)}",
        f"trace_buf_size={buffer_kib(config, cpus, memory_mib)}K",
        NO_COMMS_ARGUMENT,
    ]
    if with_scx:
        words.append("kprobe_event=" + ";".join(f"p:{probe}" for probe in SCX_PROBES))
    return " ".join(words)
