"""The last seconds before a stop, out of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from ktstr_tui.history.stretches import Stretch, stretches
from ktstr_tui.history.waits import (
    Story,
    left_the_dsq,
    nothing_was_taken,
    steps_of,
    story_of,
    taker,
)
from ktstr_tui.kernel.trace.events import TraceEvent
from ktstr_tui.kernel.trace.reader import CpuTrace, Trace
from ktstr_tui.model.history import REMOVES, CpuHistory, History, Ran, Seen, Taker, TaskStep, TextLine, Wait

MAX_STRETCHES: Final = 32
"""Of one CPU."""
MAX_STEPS: Final = 64
MAX_TEXTS: Final = 64


class Waiter(NamedTuple):
    """The task that a capture is about, as the capture shows it."""

    pid: int
    comm: str
    age_ms: float
    allowed: frozenset[int]
    """CPUs that it may use and that are online."""
    place: str | None
    """Label of its DSQ."""
    dsq_id: int | None
    dsq_kind: Literal["user", "local", "other"]
    """``local`` for a DSQ that one CPU alone takes from; ``user`` for one with an id of its own."""
    dsq_cpu: int | None
    """That CPU."""
    held: bool


class _Left(NamedTuple):
    """What left a DSQ."""

    nr: int | None = None
    seen: Seen | None = None
    last_ms: float | None = None


class Past:
    """What a trace says of the time before a stop.

    Args:
        trace: The trace, without what is later than the stop.
        stop_ns: The stop on the trace's clock.
        current: Pid and comm of the task on each CPU at the stop.
    """

    def __init__(self, trace: Trace, stop_ns: int, current: Mapping[int, tuple[int, str]]) -> None:
        self._trace, self._stop_ns = trace, stop_ns
        self._events = trace.merged()
        self._ran: dict[int, list[Stretch]] = {}
        for it in trace.cpus:
            if it.unavailable is None:
                self._ran[it.cpu] = stretches(it.events, it.known_from_ns, stop_ns, current.get(it.cpu))

    def history(self, waiter: Waiter | None) -> History:
        """Make the history, with the story of the task that waits."""
        story = None if waiter is None else story_of(waiter.pid, self._events)
        steps = [] if waiter is None or story is None else self._steps(waiter, story)
        texts = [event for event in self._events if event.kind == "text"]
        return History(
            clock=self._trace.clock,
            recorded=self._trace.names,
            cpus=tuple(self._cpu(it) for it in self._trace.cpus),
            wait=None if waiter is None or story is None else self._wait(waiter, story),
            steps=tuple(steps[-MAX_STEPS:]),
            more_steps=max(0, len(steps) - MAX_STEPS),
            texts=tuple(
                TextLine(ms=self._ms(event.time_ns), cpu=event.cpu, text=(event.text or "").rstrip("\n"))
                for event in texts[-MAX_TEXTS:]
            ),
            more_texts=max(0, len(texts) - MAX_TEXTS),
        )

    def _ms(self, time_ns: int) -> float:
        return min(0.0, (time_ns - self._stop_ns) / 1e6)

    def _cpu(self, it: CpuTrace) -> CpuHistory:
        ran = self._ran.get(it.cpu, [])
        known = [one for one in ran if one.pid is not None]
        return CpuHistory(
            cpu=it.cpu,
            known_from_ms=self._ms(it.known_from_ns) if it.unavailable is None else None,
            ran=tuple(
                Ran(
                    pid=one.pid or 0,
                    comm=one.comm,
                    prio=one.prio,
                    from_ms=None if one.cut else self._ms(one.from_ns),
                    to_ms=self._ms(one.to_ns),
                )
                for one in known[-MAX_STRETCHES:]
            ),
            more=max(0, len(known) - MAX_STRETCHES),
            events=len(it.events),
            overwritten=it.overrun.overwritten,
            dropped=it.overrun.dropped,
            unavailable=it.unavailable,
        )

    def _steps(self, waiter: Waiter, story: Story) -> list[TaskStep]:
        comms = _comms(self._events)
        return steps_of(story, waiter.pid, self._stop_ns, comms)

    def _wait(self, waiter: Waiter, story: Story) -> Wait:
        inferred_ns = self._stop_ns - int(waiter.age_ms * 1e6)
        since_ns = inferred_ns if story.waits_since_ns is None else story.waits_since_ns
        inserted = story.inserted if waiter.place is not None else None
        if inserted is not None and waiter.dsq_kind == "user" and inserted.dsq_id != waiter.dsq_id:
            inserted = None
        left = self._left(waiter, since_ns if inserted is None else inserted.time_ns)
        return Wait(
            pid=waiter.pid,
            comm=waiter.comm,
            since_ms=self._ms(since_ns),
            since="inferred" if story.waits_since_ns is None else "observed",
            how=story.how,
            last_cpu=story.last_cpu,
            last_ms=None if story.last_ns is None else self._ms(story.last_ns),
            place=waiter.place,
            held=waiter.held,
            inserted_ms=None if inserted is None else self._ms(inserted.time_ns),
            takers=tuple(self._takers(waiter, since_ns)),
            left=left.nr,
            left_seen=left.seen,
            left_last_ms=left.last_ms,
        )

    def _takers(self, waiter: Waiter, since_ns: int) -> Iterable[Taker]:
        cpus = waiter.allowed
        if waiter.dsq_kind == "local" and waiter.dsq_cpu is not None:
            cpus = frozenset({waiter.dsq_cpu})
        for cpu in sorted(cpus):
            yield taker(cpu, self._ran.get(cpu, []), since_ns, self._stop_ns)

    def _left(self, waiter: Waiter, since_ns: int) -> _Left:
        complete = all(it.unavailable is None and it.known_from_ns <= since_ns for it in self._trace.cpus)
        if waiter.place is None or not complete:
            return _Left()
        if REMOVES in self._trace.names and waiter.dsq_kind == "user" and waiter.dsq_id is not None:
            times = left_the_dsq(waiter.dsq_id, waiter.pid, since_ns, self._events)
            return _Left(len(times), "observed", self._ms(max(times)) if times else None)
        if nothing_was_taken(self._ran.values(), since_ns):
            return _Left(0, "inferred")
        return _Left()


def _comms(events: Iterable[TraceEvent]) -> dict[int, str]:
    found = dict[int, str]()
    for event in events:
        if event.pid is not None and event.comm:
            found[event.pid] = event.comm
        if event.prev_pid is not None and event.prev_comm:
            found[event.prev_pid] = event.prev_comm
    return found
