#!/usr/bin/env python3
"""Print how long the oldest runnable task waited under each scheduler, from the events of a run.

    ktstr-tui events RUN --json | examples/events/wait_times.py
    ktstr-tui events recording.ktstr --json | examples/events/wait_times.py

One line for each step: samples, median, 99th percentile and maximum of the age of the oldest runnable task, and how
often the kernel ejected a scheduler. Samples that could not be read are counted, never taken for 0. Needs Python's
standard library only; the fields are described in docs/schemas/event.schema.json.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Step:
    """What was seen while one step ran."""

    name: str
    scheduler: str
    ages_ms: list[float] = field(default_factory=list)
    unreadable: int = 0
    ejections: int = 0


def read_steps(lines: Iterable[str]) -> list[Step]:
    """Sort the samples of a run by the step in which they were taken.

    Args:
        lines: One JSON event each.
    """
    steps = [Step("(before)", "none")]
    for line in lines:
        event = json.loads(line)
        kind = event["type"]
        if kind == "step":
            steps.append(Step(event["name"], event["scheduler"]))
        elif kind == "sample":
            scheduler = event["sample"]["scheduler"]
            if scheduler["unreadable"] is not None:
                steps[-1].unreadable += 1
                continue
            # No task on a runnable list waited for nothing: that is an age of 0, not a value that is missing.
            oldest = scheduler["oldest_runnable"]
            steps[-1].ages_ms.append(oldest["age_ms"] if oldest else 0.0)
        elif kind == "scheduler" and event["change"] == "ejected":
            steps[-1].ejections += 1
    return [step for step in steps if step.ages_ms or step.unreadable]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below so many percent of all."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def main() -> None:
    """Read events from standard input and print the table."""
    print(f"{'step':<16} {'scheduler':<20} {'samples':>7} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  notes")
    for step in read_steps(sys.stdin):
        notes = [f"{step.ejections} ejected"] if step.ejections else []
        notes += [f"{step.unreadable} unreadable"] if step.unreadable else []
        figures = "".join(
            f" {percentile(step.ages_ms, percent):>8.0f}" if step.ages_ms else f" {'-':>8}"
            for percent in (50, 99, 100)
        )
        print(
            f"{step.name:<16} {step.scheduler:<20} {len(step.ages_ms):>7}{figures}  {', '.join(notes)}".rstrip()
        )


if __name__ == "__main__":
    main()
