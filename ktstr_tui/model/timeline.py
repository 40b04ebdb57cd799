"""Who had each CPU when, and what a task did, from the blocks of the kernel's trace.

A lane is a list of stretches that follow each other without a gap; each begins where the one before ends. What is not
known is a stretch of its own: before the first switch, where events were lost, and where a switch names another task
than the one that was there. So the sum of a lane is always its whole length, and nothing is guessed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from ktstr_tui.model.trace_block import TraceBlock, TraceRow

UNKNOWN: Final = -1
"""In the place of a pid: not known who ran."""
IDLE: Final = 0
PREEMPTED: Final = 0x100
"""``prev_state`` of a task that would have run on."""
_LOOKED_BACK: Final = 16
"""Events of a task that are looked at to find out since when it waits."""
TaskState: TypeAlias = Literal["unknown", "runs", "waits", "sleeps", "gone"]
_ABOUT: Final = ("wakeup", "waking", "new", "migrate", "exit", "enqueue", "insert", "remove", "move")


class Stretch(NamedTuple):
    """A task on a CPU."""

    pid: int
    prio: int | None
    from_ns: int
    to_ns: int


class Cell(NamedTuple):
    """What most of a stretch of a lane was."""

    pid: int
    prio: int | None
    share: float
    """Of the cell that it had."""


class _Lane:
    """Stretches of one CPU: starts, pids and priorities, side by side."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.pids: list[int] = []
        self.prios: list[int | None] = []

    def add(self, time_ns: int, pid: int, prio: int | None) -> None:
        if self.starts and time_ns <= self.starts[-1]:
            time_ns = self.starts[-1]
        self.starts.append(time_ns)
        self.pids.append(pid)
        self.prios.append(prio)


class Timeline:
    """The lanes of all blocks that were added, oldest first."""

    def __init__(self) -> None:
        self._lanes: dict[int, _Lane] = {}
        self._of_task: dict[int, list[TraceRow]] = {}
        self._times: dict[int, list[int]] = {}
        self._clocks: list[tuple[int, int]] = []
        self._gaps: list[int] = []
        self._states: dict[int, tuple[list[int], list[TaskState], list[int]]] = {}
        self.comms: dict[int, str] = {}
        """Names of tasks."""
        self.begin_ns: int | None = None
        """From when on anything is known; None before the first block."""
        self.end_ns = 0
        self.events = 0
        self.unknown = ""
        """Why the newest block has no events, or why events are missing; empty when all is there."""

    @property
    def cpus(self) -> list[int]:
        """Those with a lane."""
        return sorted(self._lanes)

    def add(self, block: TraceBlock, rows: Sequence[TraceRow]) -> None:
        """Add the next block with its events."""
        if self.begin_ns is None:
            self.begin_ns = self.end_ns = block.begin_ns
        self.comms.update(block.comms)
        self._clocks.append((block.mono_ns, block.now_ns))
        self._states.clear()
        if block.begin_ns > self.end_ns or block.dropped:
            self._gaps.append(self.end_ns)
            for lane in self._lanes.values():
                lane.add(self.end_ns, UNKNOWN, None)
        if block.lost:
            self._gaps.append(block.begin_ns)
        for cpu in block.lost:
            self._lane(cpu).add(block.begin_ns, UNKNOWN, None)
        for row in rows:
            if row.kind == "switch":
                self._switch(row)
            elif row.kind in _ABOUT:
                self._note(row.pid, row)
        self.events += len(rows)
        self.end_ns = max(self.end_ns, block.end_ns)
        self.unknown = block.dropped

    def _lane(self, cpu: int) -> _Lane:
        lane = self._lanes.get(cpu)
        if lane is None:
            lane = self._lanes[cpu] = _Lane()
            lane.add(self.begin_ns or 0, UNKNOWN, None)
        return lane

    def _switch(self, row: TraceRow) -> None:
        lane = self._lane(row.cpu)
        if lane.pids[-1] != row.other:
            # The first switch that is known says who was there before; a later one that does not fit says that
            # something is missing.
            lane.pids[-1] = row.other if len(lane.pids) == 1 else UNKNOWN
        lane.add(row.time_ns, row.pid, row.prio)
        for pid in (row.other, row.pid):
            if pid:
                self._note(pid, row)

    def _note(self, pid: int, row: TraceRow) -> None:
        self._of_task.setdefault(pid, []).append(row)
        self._times.setdefault(pid, []).append(row.time_ns)

    def stretch(self, cpu: int, time_ns: int) -> Stretch | None:
        """Who has a CPU at an instant; None outside of what is known."""
        lane = self._lanes.get(cpu)
        if lane is None or not lane.starts or not lane.starts[0] <= time_ns <= self.end_ns:
            return None
        at = bisect_right(lane.starts, time_ns) - 1
        end_ns = lane.starts[at + 1] if at + 1 < len(lane.starts) else max(self.end_ns, lane.starts[at])
        return Stretch(lane.pids[at], lane.prios[at], lane.starts[at], end_ns)

    def stretches(self, cpu: int, from_ns: int, to_ns: int) -> list[Stretch]:
        """The stretches of a CPU that lie in a span, cut to it."""
        lane, found = self._lanes.get(cpu), list[Stretch]()
        to_ns = min(to_ns, self.end_ns)
        if lane is None:
            return found
        at = max(0, bisect_right(lane.starts, from_ns) - 1)
        while at < len(lane.starts) and lane.starts[at] < to_ns:
            end = lane.starts[at + 1] if at + 1 < len(lane.starts) else self.end_ns
            start, end = max(from_ns, lane.starts[at]), min(to_ns, end)
            if end > start:
                found.append(Stretch(lane.pids[at], lane.prios[at], start, end))
            at += 1
        return found

    def cells(self, cpu: int, from_ns: int, to_ns: int, width: int) -> list[Cell | None]:
        """Cut a span into cells, each with what most of it was; None where the span is outside of what is known."""
        edges = [from_ns + (to_ns - from_ns) * k // width for k in range(width + 1)]
        sums: list[dict[int, int]] = [{} for _ in range(width)]
        prios: dict[int, int | None] = {}
        for it in self.stretches(cpu, from_ns, to_ns):
            first = max(0, bisect_right(edges, it.from_ns) - 1)
            prios[it.pid] = it.prio if it.prio is not None else prios.get(it.pid)
            for k in range(first, width):
                ns = min(it.to_ns, edges[k + 1]) - max(it.from_ns, edges[k])
                if ns > 0:
                    sums[k][it.pid] = sums[k].get(it.pid, 0) + ns
                if edges[k + 1] >= it.to_ns:
                    break
        return [_most(one, prios, edges[k + 1] - edges[k]) for k, one in enumerate(sums)]

    def states(self, pid: int) -> tuple[list[int], list[TaskState], list[int]]:
        """When a task began to do what, and on which CPU: times, states and CPUs side by side."""
        found = self._states.get(pid)
        if found is None:
            times, states, cpus = [self.begin_ns or 0], list[TaskState](["unknown"]), [-1]
            gaps = deque(self._gaps)

            def forget(until_ns: int) -> None:
                # What a task did while nothing was recorded is not known, and so not what it does after that.
                while gaps and gaps[0] <= until_ns:
                    times.append(gaps.popleft())
                    states.append("unknown")
                    cpus.append(-1)

            for row in self._of_task.get(pid, ()):
                forget(row.time_ns)
                state = _after(row, pid, states[-1])
                if state is not None:
                    if len(states) == 1 and row.kind == "switch" and row.other == pid:
                        states[0], cpus[0] = "runs", row.cpu
                    times.append(row.time_ns)
                    states.append(state)
                    cpus.append(row.cpu if row.kind == "switch" else row.to_cpu)
            forget(self.end_ns)
            found = self._states[pid] = (times, states, cpus)
        return found

    def state_cells(self, pid: int, from_ns: int, to_ns: int, width: int) -> list[TaskState | None]:
        """Cut a span into cells, each with what the task did for most of it; running shows however short it was."""
        times, states, _ = self.states(pid)
        found: list[TaskState | None] = []
        for k in range(width):
            start = from_ns + (to_ns - from_ns) * k // width
            end = max(start + 1, from_ns + (to_ns - from_ns) * (k + 1) // width)
            if self.begin_ns is None or start >= self.end_ns or end <= self.begin_ns:
                found.append(None)
                continue
            first, last = max(0, bisect_right(times, start) - 1), bisect_left(times, end)
            inside = states[first:last]
            found.append(
                "runs"
                if "runs" in inside
                else "waits"
                if "waits" in inside
                else inside[-1]
                if inside
                else None
            )
        return found

    def next_event(self, pid: int, time_ns: int, step: int) -> TraceRow | None:
        """The next event of a task after an instant, or with a negative step the one before."""
        times = self._times.get(pid, [])
        at = bisect_right(times, time_ns) if step > 0 else bisect_left(times, time_ns) - 1
        return self._of_task[pid][at] if 0 <= at < len(times) else None

    def run_times(self, from_ns: int, to_ns: int) -> dict[int, int]:
        """How many nanoseconds each task ran in a span, on all CPUs."""
        found: dict[int, int] = {}
        for cpu in self._lanes:
            for it in self.stretches(cpu, from_ns, to_ns):
                found[it.pid] = found.get(it.pid, 0) + it.to_ns - it.from_ns
        return found

    def most_wanted(self, from_ns: int, to_ns: int) -> list[int]:
        """The tasks of a span by how long they ran in it and, at its end, have waited for a CPU; longest first."""
        found = {pid: ns for pid, ns in self.run_times(from_ns, to_ns).items() if pid not in (UNKNOWN, IDLE)}
        for pid, rows in self._of_task.items():
            at = bisect_left(self._times[pid], to_ns)
            since = _waits_since(rows[max(0, at - _LOOKED_BACK) : at], pid)
            if since is not None and not any(since <= gap < to_ns for gap in self._gaps):
                found[pid] = found.get(pid, 0) + max(0, to_ns - max(from_ns, since))
        return sorted(found, key=lambda pid: (-found[pid], pid))

    def trace_ns(self, mono_ns: int) -> int | None:
        """The trace's clock at a moment of the host's, as near as the blocks tell; None before the first block."""
        if not self._clocks:
            return None
        at = bisect_left(self._clocks, (mono_ns, 0))
        if at == len(self._clocks):
            host, trace = self._clocks[-1]
            return trace + mono_ns - host
        host, trace = self._clocks[at]
        found = trace - (host - mono_ns)
        # A guest that was frozen in between has no time there.
        return max(found, self._clocks[at - 1][1]) if at else found


def _most(sums: dict[int, int], prios: dict[int, int | None], length: int) -> Cell | None:
    if not sums:
        return None
    pid, ns = max(sums.items(), key=lambda it: it[1])
    return Cell(pid, prios[pid], ns / max(1, length))


def _waits_since(rows: Sequence[TraceRow], pid: int) -> int | None:
    """Since when a task waits, by its newest events; None when it does something else."""
    since = None
    for row in reversed(rows):
        state = _after(row, pid, "sleeps")
        if state not in (None, "waits"):
            break
        since = row.time_ns if state == "waits" else since
    return since


def _after(row: TraceRow, pid: int, before: TaskState) -> TaskState | None:
    """What a task does after an event; None when that says nothing of it."""
    match row.kind:
        case "switch" if row.pid == pid:
            return "runs"
        case "switch":
            return "waits" if row.number in (0, PREEMPTED) else "sleeps"
        case "wakeup" | "new":
            return None if before == "runs" else "waits"
        case "exit":
            return None
    return None


def timeline_of(blocks: Iterable[tuple[TraceBlock, Sequence[TraceRow]]]) -> Timeline:
    """Make a timeline of blocks with their events."""
    found = Timeline()
    for block, rows in blocks:
        found.add(block, rows)
    return found
