"""When something about the guest counts as bad."""

from __future__ import annotations

import msgspec


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """When something counts as bad."""

    imbalance: float = 4.0
    """Longest runqueue over shortest (but at least 1)."""
    local_dsq_depth: int = 50
    fallback_per_s: float = 200.0
    """``SCX_EV_SELECT_CPU_FALLBACK``."""
    keep_last_per_s: float = 100.0
    """``SCX_EV_DISPATCH_KEEP_LAST``."""
    sustained: int = 5
    """Samples in a row before these are alerts, and before any alert is cleared."""
    stall_ticks: int = 10
    """Host CPU time of a vCPU, in ticks of the guest, that makes a standing clock a stall."""
    stall_cpu_ms: float = 200.0
    """The same in milliseconds; both must have passed."""
    waiting: float = 0.1
    """Of the watchdog timeout that a task must have waited before what it waits beside is an alert."""
    idle_beside: float = 0.33
    """The same for early alarms without a time of their own: on a busy host an idle vCPU may be slow to wake up."""
    settle_ms: float = 2000.0
    """How long queues may be uneven: after a scheduler took over, and before it is an alert."""
    age_warning: float = 0.5
    """Of the watchdog timeout."""
    age_error: float = 0.9
    age_hysteresis: float = 0.1
    """How far below the threshold the age must fall again."""
    plausible_nr: int = 10_000
    """A deeper local DSQ is a misread, and its sample is not judged."""
