"""What a run with a seed measured in the guest's own time, from its events: how much its workers did, and at what cost.

Everything is the guest's: its time is the number of instructions, so the same run has the same figures on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ktstr_tui.model.events import Event, Sampled, SchedulerChanged, StepStarted, WorkersReported
from ktstr_tui.model.sample import Sample


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run."""

    work_per_s: dict[str, float]
    """Iterations per guest second of each worker, by its name, summed where several share one."""
    ejections: int
    worst_wait_ms: float | None
    """The longest wait of a runnable task that a sample saw; None without samples."""
    switches_per_s: float | None
    """Context switches of all CPUs per guest second; None when they were not sampled twice."""

    def figures(self) -> dict[str, float | None]:
        """All of them, by name."""
        workers: dict[str, float | None] = {f"{it} work/s": rate for it, rate in self.work_per_s.items()}
        total = sum(self.work_per_s.values()) if self.work_per_s else None
        return {
            **workers,
            "all work/s": total,
            "ejections": float(self.ejections),
            "worst wait ms": self.worst_wait_ms,
            "switches/s": self.switches_per_s,
        }


class _Step:
    """The workers of one step of the scenario."""

    def __init__(self, began_ns: int) -> None:
        self.began_ns = self.ended_ns = began_ns
        self.done: dict[tuple[str, int], int] = {}

    def report(self, event: WorkersReported) -> None:
        self.ended_ns = event.mono_ns
        self.done |= {(it.comm, it.pid): it.iterations for it in event.workers}


def measure(events: Iterable[Event]) -> Measured:
    """The figures of a recording.

    Args:
        events: All events of a run, oldest first.
    """
    steps: list[_Step] = []
    samples: list[Sample] = []
    ejections, worst_ms = 0, None
    for event in events:
        match event:
            case StepStarted():
                steps.append(_Step(event.mono_ns))
            case WorkersReported() if steps:
                steps[-1].report(event)
            case SchedulerChanged(change="ejected"):
                ejections += 1
            case Sampled(sample=sample):
                samples = [*samples[:1], sample] if _switches(sample) is not None else samples
                oldest = sample.scheduler.oldest_runnable
                if sample.scheduler.name is not None:
                    worst_ms = max(worst_ms or 0.0, oldest.age_ms if oldest else 0.0)
    return Measured(
        work_per_s=_rates(steps),
        ejections=ejections,
        worst_wait_ms=worst_ms,
        switches_per_s=_switch_rate(samples),
    )


def _rates(steps: list[_Step]) -> dict[str, float]:
    done: dict[str, int] = {}
    spent_ns: dict[str, int] = {}
    for step in steps:
        for (comm, _), iterations in step.done.items():
            done[comm] = done.get(comm, 0) + iterations
        for comm in {comm for comm, _ in step.done}:
            spent_ns[comm] = spent_ns.get(comm, 0) + step.ended_ns - step.began_ns
    return {comm: done[comm] / spent_ns[comm] * 1e9 for comm in sorted(done) if spent_ns[comm] > 0}


def _switches(sample: Sample) -> int | None:
    counts = [it.nr_switches for it in sample.cpus]
    known = [it for it in counts if it is not None]
    return sum(known) if len(known) == len(counts) and sample.guest_ns is not None else None


def _switch_rate(samples: list[Sample]) -> float | None:
    if len(samples) < 2:
        return None
    first, last = samples
    between_ns = (last.guest_ns or 0) - (first.guest_ns or 0)
    return ((_switches(last) or 0) - (_switches(first) or 0)) / between_ns * 1e9 if between_ns > 0 else None
