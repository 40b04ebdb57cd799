"""Who had a CPU, from its switches.

A switch names the task that leaves and the one that comes, so a stretch lies between two switches. The first one that
is known began earlier, the last one goes on at the stop. Where a switch does not continue the one before it, something
was lost in between, and that time belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ktstr_tui.kernel.trace.events import TraceEvent


class Stretch(NamedTuple):
    """A task on a CPU."""

    pid: int | None
    """None for time of which nothing is known."""
    comm: str
    prio: int | None
    from_ns: int
    to_ns: int
    cut: bool = False
    """It began before what is known."""


def stretches(
    events: Iterable[TraceEvent], known_from_ns: int, stop_ns: int, curr: tuple[int, str] | None
) -> list[Stretch]:
    """Return who had a CPU between two times, oldest first.

    Args:
        events: Of this CPU, oldest first.
        known_from_ns: From when on no event is missing.
        stop_ns: The end.
        curr: Pid and comm of the task on the CPU at the end. A kernel that is stopped in the middle of a switch has set
            it and not recorded the switch yet (``__schedule``: rq->curr, then trace_sched_switch).
    """
    found, at, pid, comm, prio, cut = list[Stretch](), known_from_ns, None, "", None, True
    for event in events:
        if event.kind != "switch" or event.time_ns < known_from_ns:
            continue
        # No stretch may overlap another, whatever times the guest has written.
        now = max(at, min(event.time_ns, stop_ns))
        if pid is None and not found:
            pid, comm = event.prev_pid, event.prev_comm or ""
        if now > at:
            known = pid == event.prev_pid
            found.append(Stretch(pid if known else None, comm if known else "", prio, at, now, cut))
        at, pid, comm, prio, cut = now, event.pid, event.comm or "", event.prio, False
    if pid is None and curr is not None:
        pid, comm = curr
    # Who came at the stop itself, as the task that ejects a scheduler may, had no time yet and is there all the same.
    if stop_ns > at or pid is not None:
        found.append(Stretch(pid, comm, prio, at, stop_ns, cut))
    if pid is not None and curr is not None and curr[0] != pid:
        found.append(Stretch(*curr, None, stop_ns, stop_ns))
    return found


class Total(NamedTuple):
    """Time that a task had."""

    pid: int | None
    comm: str
    prio: int | None
    ns: int


def totals(found: Sequence[Stretch], from_ns: int) -> list[Total]:
    """Add up what each task had since a time, most first."""
    sums = dict[int | None, Total]()
    for it in found:
        ns = it.to_ns - max(it.from_ns, from_ns)
        if ns > 0:
            before = sums.get(it.pid)
            prio = it.prio if it.prio is not None else (before.prio if before else None)
            sums[it.pid] = Total(it.pid, it.comm, prio, ns + (before.ns if before else 0))
    return sorted(sums.values(), key=lambda it: -it.ns)
