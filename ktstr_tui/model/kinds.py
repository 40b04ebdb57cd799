"""The words that have a closed set of values, as types: what is not in a set here is an error of mypy or of the codec.

A room that makes one of these words, one that reads it and a file that holds it agree through these names alone.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Trigger: TypeAlias = Literal["error", "early", "on-demand", "watch", "guest", "periodic", "stall", "alarm"]
"""Why a capture was taken: an ejection, half of the watchdog timeout, a viewer, a hit, the guest, a plan, a silence, an
early alarm."""
TRIGGERS: tuple[Trigger, ...] = get_args(Trigger)

OutputStream: TypeAlias = Literal["stdout", "stderr", "sched_log", "dmesg", "crash", "console", "boot"]
"""Which text of the guest: its programs, the scheduler's log, the kernel's log, the guest program's last report, and
the serial console while it boots."""

GuestPhase: TypeAlias = Literal["InitStarted", "PayloadStarting", "SchedulerDied", "SchedulerNotAttached"]
"""How far the guest program has come, in its own words."""

RunPhase: TypeAlias = Literal["booting", "up", "running", "finished", "ended"]
"""How far a run has come: ``running`` is a scenario that goes on, ``finished`` one that is over."""

RunVerdict: TypeAlias = Literal["ok", "degraded", "ejected", "failed", "inconclusive"]
"""What is said of a run as a whole: see `model.verdict`."""

RunCondition: TypeAlias = Literal[
    "booting", "ok", "alert", "degraded", "stalled", "inconclusive", "frozen", "rejected", "ejected", "failed"
]
"""What a run is like at one moment: see `model.condition`."""

WatchState: TypeAlias = Literal["pending", "armed", "paused", "removed", "failed", "polled"]
"""What became of a watch slot; ``polled`` is what found no slot and is read at every sample instead."""

AlertKind: TypeAlias = Literal[
    "stall",
    "imbalance",
    "local-dsq",
    "runnable-age",
    "dsq",
    "wait",
    "starved",
    "event-rate",
    "ejected",
    "silence",
    "sampler",
    "host",
    "recording",
    "frozen",
    "unseen",
    "attach",
    "edit",
]
"""What an alert is about: ``stall`` is a CPU that does not advance, ``dsq`` a queue that no CPU takes from,
``starved`` a kernel thread below rt or dl tasks, ``silence`` a sender without heartbeats,
``edit`` a change of the scheduler that did not work out."""
