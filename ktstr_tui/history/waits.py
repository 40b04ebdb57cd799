"""Since when a task waits, what happened to it, and who should have taken it.

A task waits from the moment that it leaves a CPU while it wants to run on, or is woken, until a CPU switches to it. The
kernel puts it into its DSQ just before it writes that event, so an insert counts from the task's last time on a CPU on.

That nothing left a DSQ is seen where the kernel records what leaves DSQs. Without that it follows, if it does, from who
ran: whatever is taken out of a DSQ runs next, and is of no class above the schedulers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ktstr_tui.history.stretches import Stretch, totals
from ktstr_tui.kernel.trace.events import TraceEvent, is_runnable, state_letters
from ktstr_tui.model.history import NORMAL_PRIO, Share, StepKind, Taker, TaskStep

MAX_SHARES: Final = 4
_STEPS: Final[Mapping[str, StepKind]] = {
    "waking": "waking", "wakeup": "wakeup", "new": "new", "migrate": "migrate", "exit": "exit", "enqueue": "enqueue",
    "insert": "insert", "remove": "remove", "move": "move",
}  # fmt: skip


class Story(NamedTuple):
    """What the trace says of one task."""

    events: list[TraceEvent]
    waits_since_ns: int | None
    """None when it does not wait, or nothing is known."""
    how: Literal["preempted", "woken", "unknown"]
    last_cpu: int | None
    last_ns: int | None
    """When it left a CPU last."""
    inserted: TraceEvent | None
    """Since it had a CPU last."""


def story_of(pid: int, events: Iterable[TraceEvent]) -> Story:
    """Follow a task through the events of all CPUs, oldest first."""
    mine = [event for event in events if pid in (event.pid, event.prev_pid)]
    since: int | None = None
    how: Literal["preempted", "woken", "unknown"] = "unknown"
    running, last_cpu, last_ns = False, None, None
    inserted: TraceEvent | None = None
    for event in mine:
        if event.kind == "switch" and event.pid == pid:
            running, since, how, inserted = True, None, "unknown", None
        elif event.kind == "switch":
            running, last_cpu, last_ns = False, event.cpu, event.time_ns
            if is_runnable(event.prev_state or 0):
                since, how = event.time_ns, "preempted"
        elif event.kind in ("wakeup", "new") and since is None and not running:
            since, how = event.time_ns, "woken"
        elif event.kind == "insert":
            inserted = event
        elif event.kind == "remove":
            inserted = None
    return Story(mine, since, how, last_cpu, last_ns, inserted)


def steps_of(story: Story, pid: int, stop_ns: int, comms: Mapping[int, str]) -> list[TaskStep]:
    """What happened to a task, for people and programs."""
    found = []
    for event in story.events:
        is_switch = event.kind == "switch"
        what: StepKind | None = _STEPS.get(event.kind)
        if is_switch:
            what = "ran" if event.pid == pid else "left"
        if what is None:
            continue
        other = event.prev_pid if what == "ran" else event.pid if what == "left" else event.by
        by = None if other in (None, pid) else other
        found.append(
            TaskStep(
                ms=_ms(event.time_ns, stop_ns),
                cpu=event.cpu,
                what=what,
                state=state_letters(event.prev_state or 0) if what == "left" else None,
                by_pid=by,
                by_comm=None if by is None else comms.get(by, "idle" if by == 0 else None),
                to_cpu=event.to_cpu,
                from_cpu=event.from_cpu,
                dsq_id=event.dsq_id,
            )
        )
    return found


def taker(cpu: int, ran: Sequence[Stretch], since_ns: int, stop_ns: int) -> Taker:
    """What a CPU did since a task waits."""
    sums = totals(ran, since_ns)
    known = sum(it.ns for it in sums)
    unknown = sum(it.ns for it in sums if it.pid is None) + max(0, stop_ns - since_ns - known)
    tasks = [it for it in sums if it.pid]
    return Taker(
        cpu=cpu,
        idle_ms=sum(it.ns for it in sums if it.pid == 0) / 1e6,
        ran=tuple(
            Share(pid=it.pid or 0, comm=it.comm, ms=it.ns / 1e6, prio=it.prio) for it in tasks[:MAX_SHARES]
        ),
        others_ms=sum(it.ns for it in tasks[MAX_SHARES:]) / 1e6,
        unknown_ms=unknown / 1e6,
    )


def left_the_dsq(dsq_id: int, pid: int, since_ns: int, events: Iterable[TraceEvent]) -> list[int]:
    """Return the times at which other tasks were seen to leave a DSQ since a time."""
    return [
        event.time_ns
        for event in events
        if event.kind == "remove"
        and event.dsq_id == dsq_id
        and event.time_ns >= since_ns
        and event.pid != pid
    ]


def nothing_was_taken(ran: Iterable[Sequence[Stretch]], since_ns: int) -> bool:
    """Whether no CPU took anything out of a DSQ: since then they ran nothing of the classes that a scheduler has."""
    return not any(
        it.pid is None or (it.cut and it.from_ns > since_ns) or (it.pid != 0 and _could_be_taken(it))
        for found in ran
        for it in found
        if it.to_ns > since_ns and it.from_ns >= since_ns
    )


def _could_be_taken(it: Stretch) -> bool:
    return it.prio is None or it.prio >= NORMAL_PRIO


def _ms(time_ns: int, stop_ns: int) -> float:
    return min(0.0, (time_ns - stop_ns) / 1e6)
