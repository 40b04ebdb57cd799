"""The lanes of a timeline, with a cursor in time and one between lanes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ktstr_tui.model.moments import Moment
from ktstr_tui.model.timeline import Timeline
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.text import words
from ktstr_tui.text.lines import Line, text_of
from ktstr_tui.text.timeline_lines import LABEL, Letters, Look, Row, rows, ruler
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View
from ktstr_tui.wire.codec import CodecError
from ktstr_tui.wire.trace_block import unpack

FIRST_SPAN_NS = 2_000_000_000
LEAST_SPAN_NS = 10_000
MOST_GIVEN_LANES = 8
"""Tasks that get a lane when nobody has chosen any."""
OTHER_ROWS = 8
"""Rows of a timeline besides those of CPUs and tasks, about."""
_WAY = {True: "later", False: "earlier"}
MAX_EVENTS = 400_000
"""Of a timeline that grows while it is open; then it begins again with what the run keeps."""


class Lanes:
    """A timeline that follows a list of blocks."""

    def __init__(self) -> None:
        self.line = Timeline()
        self._last: TraceBlock | None = None
        self.damaged = ""

    def sync(self, blocks: Sequence[TraceBlock]) -> bool:
        """Take over new blocks; returns whether there were any, or others than before."""
        last = blocks[-1] if blocks else None
        if last is self._last:
            return False
        known = next((at for at, it in enumerate(blocks) if it is self._last), None)
        if known is None or self.line.events > MAX_EVENTS:
            self.line, known = Timeline(), -1
        for block in blocks[known + 1 :]:
            try:
                self.line.add(block, unpack(block))
            except CodecError as problem:
                self.damaged = problem.message
        self._last = last
        return True


class TimelinePane(LinePane):
    """Who had each CPU when, and what the chosen tasks did.

    Args:
        name: Id of the widget.
        block: That of a capture; None follows the run.
        pids: Tasks that have a lane from the begin.
        zero_ns: From what times are counted; the newest moment without.
    """

    row_word = "lane"
    opens = True

    def __init__(
        self, name: str, block: TraceBlock | None = None, pids: Sequence[int] = (), zero_ns: int | None = None
    ) -> None:
        super().__init__(name)
        self._block, self._zero_ns = block, zero_ns
        self.pids = list(dict.fromkeys(pids))
        """Tasks with a lane."""
        self.chosen = bool(pids)
        """Whether somebody chose them; else they are those that ran or waited most, as many as have room."""
        self.lanes, self._letters = Lanes(), Letters()
        self.span_ns = FIRST_SPAN_NS
        self.at_ns: int | None = None
        """Where the cursor is; None follows the newest moment."""
        self._from_ns: int | None = None
        self._held_ns: int | None = None
        """From what times are counted while the cursor stays somewhere."""
        self._rows_now: list[Row] = []
        self._moments: list[Moment] = []

    @property
    def line(self) -> Timeline:
        """What is drawn."""
        return self.lanes.line

    def key(self, view: View) -> Hashable:
        blocks = view.state.trace
        newest = id(blocks[-1]) if blocks and self._block is None else 0
        return newest, self.at_ns, self._from_ns, self.span_ns, tuple(self.pids), len(view.state.moments)

    def load(self, view: View, width: int) -> int:
        self.lanes.sync(view.state.trace if self._block is None else [self._block])
        self._moments = view.state.moments
        if self.line.begin_ns is None:
            self._rows_now = []
            return 0
        if not self.chosen:
            self.pids = self._most_wanted()
        found = rows(self.line, self._moments, self.look(), self._letters, max(LABEL + 10, width))
        self._rows_now = [it for it in found if not it.is_lane or self.keeps(text_of(it.line[:1]))]
        return len(self._rows_now)

    def look(self) -> Look:
        """What is shown now."""
        line = self.line
        zero = next((it for it in (self._zero_ns, self._held_ns) if it is not None), line.end_ns)
        at = line.end_ns if self.at_ns is None else self.at_ns
        start = line.end_ns - self.span_ns if self._from_ns is None else self._from_ns
        return Look(start, start + self.span_ns, at, zero, tuple(self.pids))

    def heading(self, width: int) -> Line | None:
        return ruler(self.look(), max(LABEL + 10, width)) if self._rows_now else None

    def row(self, index: int, width: int) -> Line:
        return self._rows_now[index].line

    def empty(self, view: View) -> str:
        if view.state.trace and view.state.trace[-1].dropped:
            return view.state.trace[-1].dropped
        return "No event of the kernel's trace is known (a run with --trace off has none)."

    # How it is moved through.

    def move_time(self, time_ns: int) -> None:
        """Put the cursor on a time, and show it."""
        line, look = self.line, self.look()
        if line.begin_ns is None:
            return
        self._held_ns = look.zero_ns
        self.at_ns = max(line.begin_ns, min(time_ns, line.end_ns))
        start = look.from_ns
        if not start <= self.at_ns < start + self.span_ns:
            start = self.at_ns - self.span_ns // 2
        self._from_ns = start
        self._again()

    def action_sideways(self, step: int) -> None:
        cell = max(1, self.span_ns // max(1, self._width() - LABEL))
        self.move_time(self.look().at_ns + (cell if step > 0 else -cell))

    def action_edge(self, where: str) -> None:
        if where == "top":
            self.move_time(self.line.begin_ns or 0)
            return
        self.at_ns = self._from_ns = self._held_ns = None
        self._again()

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        pid = self._pid()
        if pid is None:
            return found
        if not self.chosen:
            return {**found, "row.open": "Only this lane"}
        return {**found, "row.open": "Remove lane" if pid in self.pids else "Add lane"}

    def _pid(self) -> int | None:
        """The task of the lane under the cursor, or the one that has its CPU at the cursor's time."""
        row = self._rows_now[self.cursor] if self.cursor < len(self._rows_now) else None
        if row is not None and row.cpu is not None and self.line.begin_ns is not None:
            stretch = self.line.stretch(row.cpu, min(self.look().at_ns, self.line.end_ns - 1))
            return stretch.pid if stretch is not None and stretch.pid > 0 else None
        return None if row is None else row.pid

    def action_open(self) -> None:
        """Give the task under the cursor a lane, or take it away."""
        pid = self._pid()
        if pid is None:
            return
        if not self.chosen:
            self.pids, self.chosen = [pid], True
        elif pid in self.pids:
            self.pids.remove(pid)
        else:
            self.pids.append(pid)
        self._again()
        there = next((at for at, row in enumerate(self._rows_now) if row.pid == pid), None)
        if there is not None:
            self.move_to(there)

    def remove_lane(self) -> bool:
        """Take away the lane under the cursor; returns whether it is one of a task."""
        row = self._rows_now[self.cursor] if self.cursor < len(self._rows_now) else None
        if row is None or row.pid is None:
            return False
        self.pids.remove(row.pid)
        self.chosen = True
        self._again()
        return True

    def _most_wanted(self) -> list[int]:
        look, cpus = self.look(), len(self.line.cpus)
        room = min(MOST_GIVEN_LANES, (self.size.height - OTHER_ROWS - 2 * cpus) // 2)
        if room <= 0:
            return []
        wanted = self.line.most_wanted(look.from_ns, min(look.to_ns, self.line.end_ns))
        # Those that are there stay, as long as they are not among the least: lanes that change places cannot be read.
        kept = [pid for pid in self.pids if pid in wanted[: 2 * room]][:room]
        return kept + [pid for pid in wanted if pid not in kept][: room - len(kept)]

    def zoom(self, step: int) -> None:
        """Show half or twice as much time, the cursor staying where it is on the screen."""
        look = self.look()
        if self.line.begin_ns is None:
            return
        share = (look.at_ns - look.from_ns) / self.span_ns
        whole = max(LEAST_SPAN_NS, self.line.end_ns - (self.line.begin_ns or 0))
        span = self.span_ns // 2 if step > 0 else self.span_ns * 2
        self.span_ns = max(LEAST_SPAN_NS, min(span, 2 * whole))
        if self.at_ns is not None:
            self._from_ns = self.at_ns - int(share * self.span_ns)
        self._again()

    def pan(self, step: int) -> None:
        """Go half a screen on."""
        self.move_time(self.look().at_ns + step * self.span_ns // 2)

    def next_event(self, step: int) -> str:
        """Go to the next event of the task of the lane under the cursor, or of the first one; returns why it cannot."""
        pid = self._pid()
        if pid is None and self.pids:
            pid = self.pids[0]
        found = None if pid is None else self.line.next_event(pid, self.look().at_ns, step)
        if pid is None:
            return "No task is chosen: enter on a CPU gives the task that has it a lane."
        if found is None:
            return f"No {_WAY[step > 0]} event of {words.task(self.line.comms.get(pid, '?'), pid)} is known."
        self.move_time(found.time_ns)
        return ""

    def next_mark(self, step: int) -> str:
        """Go to the next mark; returns why it cannot."""
        at, begin = self.look().at_ns, self.line.begin_ns or 0
        times = [self.line.trace_ns(it.mono_ns) for it in self._moments]
        inside = sorted(time for time in times if time is not None and begin <= time <= self.line.end_ns)
        ahead = [time for time in inside if (time > at if step > 0 else time < at)]
        if not ahead:
            return f"There is no {_WAY[step > 0]} mark."
        self.move_time(ahead[0] if step > 0 else ahead[-1])
        return ""

    def _again(self) -> None:
        if self._view is not None:
            self.sync(self._view, force=True)
