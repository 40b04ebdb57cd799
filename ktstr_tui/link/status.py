"""A run's state in one small object of plain values, the same for the command line and over the link."""

from __future__ import annotations

from ktstr_tui.model.condition import by_urgency, condition_of
from ktstr_tui.model.outputs import (
    RunStatus,
    StatusCpu,
    StatusFrames,
    StatusSamples,
    StatusScheduler,
    StatusWorker,
)
from ktstr_tui.model.sample import CpuSample
from ktstr_tui.model.state import RunState
from ktstr_tui.text.summary import capture_line


def status_of(state: RunState) -> RunStatus:
    """What matters of ``state``, ready for JSON; what is unknown is None, with units in the names."""
    info = state.info
    return {
        "name": info.name if info else None,
        "run_id": info.run_id if info else None,
        "phase": state.phase,
        "kernel": state.kernel_release,
        "accelerator": info.accelerator if info else None,
        "accelerator_reason": info.accelerator_reason if info else None,
        "seed": info.seed if info else None,
        "topology": info.topology if info else None,
        "scenario": info.scenario if info else None,
        "step": state.step.name if state.step else None,
        "lifecycle": state.lifecycle,
        "lifecycle_reason": state.lifecycle_reason,
        "scenario_elapsed_ms": state.scenario_elapsed_ms,
        "workers": _workers(state),
        "uptime_ms": round((state.mono_ns - state.started_mono_ns) / 1e6) if info else None,
        "boot_ms": state.boot_ms,
        "allow_writes": info.allow_writes if info else None,
        "kernel_writes": state.kernel_writes,
        "kernel_writes_refused": state.kernel_writes_refused,
        "condition": condition_of(state),
        "verdict": state.verdict,
        "verdict_reasons": list(state.verdict_reasons),
        "alerts": [
            {"key": alert.key, "severity": alert.severity, "text": alert.text}
            for alert in by_urgency(state.alerts.values())
        ],
        "stalls": state.stalls,
        "ejections": state.ejections,
        "restarts": state.restarts,
        "frozen": state.frozen,
        "debugger": state.debugger or None,
        "scheduler": _scheduler(state),
        "cpus": [_cpu(cpu.latest) for _, cpu in sorted(state.cpus.items())],
        "samples": _samples(state),
        "captures": [capture_line(entry) for entry in state.captures],
        "frames": _frames(state),
        "drops": dict(state.drops),
        "viewers": state.viewers,
        "seq": state.seq,
        "ended": {"exit_code": state.ended.exit_code, "reason": state.ended.reason} if state.ended else None,
    }


def _workers(state: RunState) -> list[StatusWorker]:
    return [
        {
            "pid": worker.pid,
            "comm": worker.comm,
            "iterations": worker.iterations,
            "iterations_per_s": state.worker_rates.get(worker.pid),
        }
        for worker in state.workers
    ]


def _samples(state: RunState) -> StatusSamples:
    return {
        "taken": state.samples,
        "unreadable": state.samples_unreadable,
        "missed": state.samples_missed,
        "torn": state.torn,
        "retries": state.retries,
    }


def _frames(state: RunState) -> StatusFrames:
    return {
        "received": state.frames.received,
        "bytes": state.frames.bytes,
        "crc_bad": state.frames.crc_bad,
        "unknown": state.frames.unknown,
        "dropped": dict(state.frames.dropped),
    }


def _scheduler(state: RunState) -> StatusScheduler | None:
    scheduler = state.scheduler
    if scheduler is None:
        return None
    oldest = scheduler.oldest_runnable
    return {
        "name": scheduler.name,
        "state": scheduler.state,
        "exit_kind": scheduler.exit_kind,
        "enable_seq": scheduler.enable_seq,
        "watchdog_timeout_ms": scheduler.watchdog_timeout_ms,
        "oldest_timeout_ms": scheduler.oldest_timeout_ms,
        "oldest_runnable": {
            "pid": oldest.pid,
            "comm": oldest.comm,
            "age_ms": oldest.age_ms,
            "cpu": oldest.cpu,
            "dsq": oldest.dsq,
        }
        if oldest
        else None,
        "dsqs": {dsq.label: dsq.nr for dsq in scheduler.dsqs},
        "subs": [
            {
                "name": sub.name,
                "cgroup": sub.cgroup,
                "parent": sub.parent,
                "level": sub.level,
                "state": sub.state,
                "exit_kind": sub.exit_kind,
                "watchdog_timeout_ms": sub.watchdog_timeout_ms,
                "nr_runnable": sub.nr_runnable,
            }
            for sub in scheduler.subs
        ],
        "subs_truncated": scheduler.subs_truncated,
        "subs_unreadable": scheduler.subs_unreadable,
        "last_change": state.last_change,
        "unreadable": scheduler.unreadable,
    }


def _cpu(sample: CpuSample) -> StatusCpu:
    return {
        "cpu": sample.cpu,
        "nr_running": sample.nr_running,
        "curr": {"comm": sample.curr_comm, "pid": sample.curr_pid, "class": sample.curr_class},
        "idle": sample.idle,
        "scx_nr_running": sample.scx_nr_running,
        "local_dsq_nr": sample.local_dsq_nr,
        "unreadable": sample.unreadable,
    }
