"""What stands together in ``--help``: the options of ``run``, and the commands of the program."""

from __future__ import annotations

from typing import Final

from ktstr_tui.cli.helping import HelpfulCommand, Sections

COMMANDS: Final[Sections] = {
    "Begin": ("new", "run", "attach", "status", "end", "doctor", "kernel"),
    "While it runs": (
        *("capture", "freeze", "thaw", "scheduler", "rebuild", "restart", "watch", "op", "drgn", "gdb"),
        *("tasks", "beats", "events", "automation"),
    ),
    "Afterwards": ("runs", "replay", "recording", "capture-diff", "snapshot", "restore"),
    "Again, from a seed": ("rerun", "search", "compare", "bundle"),
    "For scripts and for several people": ("beat", "operator", "audit"),
    "This host and this program": ("config", "locate", "bench"),
}

RUN: Final[Sections] = {
    "What runs": ("scheduler", "build", "watch_file", "scenario", "pause", "keep_attached"),
    "The machine": (
        *("kernel", "cpus", "topology", "memory", "accel", "fresh_boot", "boot_deadline", "append"),
        *("seed", "deterministic", "instruction_ns"),
    ),
    "The run": (
        *("name", "duration", "headless", "as_json", "theme", "on_exit", "freeze_limit", "run_dir"),
        *("runs_limit", "snapshots_limit", "help"),
    ),
    "What is seen and kept": (
        *("sample_hz", "captures", "early_capture", "memory_on_ejection", "record", "record_trace"),
        *("trace", "trace_events", "trace_buffer", "bpf_stats"),
    ),
    "Early alarms": ("alarm_idle", "alarm_dsq", "alarm_wait", "alarm_kthread", "capture_on_alarm"),
    "Who may do what": ("allow_writes", "viewers", "operators", "require_operators"),
    "Heartbeats": (
        *("silent_ms", "capture_on_stall", "beats_udp", "accept_network", "beats_key", "beats_master_key"),
        *("metrics_port", "observer_watchdog", "max_senders"),
    ),
}


class RunCommand(HelpfulCommand):
    """The command ``run``, which has most options by far."""

    sections = RUN
