"""A timeline as lines: a lane for each CPU and each chosen task, one character for each cell of time.

No colour is needed to read it: on the lanes of CPUs a letter is a task, a capital one a task of a real-time or deadline
class; on the lanes of tasks ``█`` runs, ``▒`` waits for a CPU, ``·`` sleeps. A space is outside of what was recorded,
and ``?`` is inside, but nothing is known.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ktstr_tui.model.history import NORMAL_PRIO
from ktstr_tui.model.moments import Moment, MomentKind
from ktstr_tui.model.text import counted
from ktstr_tui.model.timeline import IDLE, UNKNOWN, Cell, TaskState, Timeline
from ktstr_tui.text import words
from ktstr_tui.text.lines import Line, clean, cut, fit

LABEL: Final = 16
"""Cells of the names of lanes."""
LANE_ROLES: Final = tuple(f"lane-{number}" for number in range(6))
MARKS: Final[dict[MomentKind, str]] = {
    "alert": "!", "capture": "C", "hit": "W", "scheduler": "S", "step": "|", "frozen": "F", "thawed": "T",
}  # fmt: skip
_STATES: Final[dict[TaskState, tuple[str, str]]] = {
    "runs": ("█", "ok"), "waits": ("▒", "warn"), "sleeps": ("·", "dim"), "unknown": ("?", "dim"), "gone": (" ", "dim"),
}  # fmt: skip
_OTHERS: Final = "*"
_SEVERAL: Final = "+"
"""Marks that have one cell together."""
_STEPS_NS: Final = tuple(k * 10**n for n in range(3, 12) for k in (1, 2, 5))


class Look(NamedTuple):
    """What of a timeline is shown."""

    from_ns: int
    to_ns: int
    at_ns: int
    """Where the cursor is."""
    zero_ns: int
    """From what times are counted: the newest moment, or the stop of a capture."""
    pids: tuple[int, ...] = ()
    """Tasks with a lane."""


class Letters:
    """Gives each task a letter and keeps it, so that it stays the same while one looks around."""

    def __init__(self) -> None:
        self._of: dict[int, str] = {}
        self._number: dict[int, int] = {}

    def of(self, cell: Cell) -> tuple[str, str]:
        """The letter and the role of a task; ``*`` when there are no letters left."""
        found = self._of.get(cell.pid)
        if found is None:
            high = cell.prio is not None and cell.prio < NORMAL_PRIO
            free = string.ascii_uppercase if high else string.ascii_lowercase
            used = set(self._of.values())
            found = self._of[cell.pid] = next((it for it in free if it not in used), _OTHERS)
            self._number[cell.pid] = len(self._number)
        return found, LANE_ROLES[self._number[cell.pid] % len(LANE_ROLES)]


class Row(NamedTuple):
    """A line, and what it is about."""

    line: Line
    cpu: int | None = None
    pid: int | None = None

    @property
    def is_lane(self) -> bool:
        """Whether it is the lane of a CPU or of a task."""
        return self.cpu is not None or self.pid is not None


def ruler(look: Look, width: int) -> Line:
    """The times above the lanes, seconds from the newest moment or the stop; ``▼`` is the cursor."""
    width = max(1, width - LABEL)
    span = max(1, look.to_ns - look.from_ns)
    step = next((it for it in _STEPS_NS if span / it * 12 <= width), _STEPS_NS[-1])
    cells = [" "] * width
    first = -((look.zero_ns - look.from_ns) // step)
    for number in range(first, first + width):
        at = look.zero_ns + number * step
        column = (at - look.from_ns) * width // span
        if at > look.to_ns or column >= width:
            break
        text = f"╵{_seconds(number * step, step)}"
        if column >= 0 and column + len(text) <= width:
            cells[column : column + len(text)] = text
    cursor = column_of(look, look.at_ns, width)
    cells[cursor] = "▼"
    text = "".join(cells)
    return [(fit("seconds", LABEL), "dim"), (text[:cursor], "dim"), ("▼", "key"), (text[cursor + 1 :], "dim")]


def column_of(look: Look, time_ns: int, width: int) -> int:
    """The cell of a time, the first or last one when it is outside."""
    return max(0, min(width - 1, (time_ns - look.from_ns) * width // max(1, look.to_ns - look.from_ns)))


def rows(line: Timeline, moments: Sequence[Moment], look: Look, letters: Letters, width: int) -> list[Row]:
    """All lanes, what is under the cursor, and what the letters mean."""
    room = max(1, width - LABEL)
    cursor = column_of(look, look.at_ns, room)
    found = [Row(_marks(line, moments, look, room))]
    cells_of = {cpu: line.cells(cpu, look.from_ns, look.to_ns, room) for cpu in line.cpus}
    for cpu, cells in cells_of.items():
        spans = [_cell(cell, letters) for cell in cells]
        found.append(Row(_lane(f"cpu {cpu}", "strong", spans, cursor), cpu=cpu))
    for pid in look.pids:
        states = line.state_cells(pid, look.from_ns, look.to_ns, room)
        spans = [(" ", "") if it is None else _STATES[it] for it in states]
        found.append(Row(_lane(_name(line, pid), "key", spans, cursor), pid=pid))
    found.append(Row([]))
    found += [Row(it) for it in under_cursor(line, moments, look, width)]
    found.append(Row([]))
    seen = [it for one in cells_of.values() for it in one if it is not None and it.pid > 0]
    return found + [Row(it) for it in _legend(line, seen, look, letters, width)]


def _cell(cell: Cell | None, letters: Letters) -> tuple[str, str]:
    if cell is None:
        return " ", ""
    if cell.pid == UNKNOWN:
        return "?", "dim"
    return ("·", "dim") if cell.pid == IDLE else letters.of(cell)


def _lane(label: str, role: str, cells: Sequence[tuple[str, str]], cursor: int) -> Line:
    """A row of cells, neighbours of one role together."""
    spans: Line = [(fit(label, LABEL - 1) + " ", role)]
    for column, (text, kind) in enumerate(cells):
        kind = "badge" if column == cursor else kind  # noqa: PLW2901 - the cursor goes before everything
        if len(spans) > 1 and spans[-1][1] == kind:
            spans[-1] = (spans[-1][0] + text, kind)
        else:
            spans.append((text, kind))
    return spans


def _marks(line: Timeline, moments: Sequence[Moment], look: Look, room: int) -> Line:
    cells = [" "] * room
    for moment in moments:
        at = line.trace_ns(moment.mono_ns)
        if at is not None and look.from_ns <= at <= look.to_ns:
            column = column_of(look, at, room)
            cells[column] = MARKS[moment.kind] if cells[column] in (" ", "|") else _SEVERAL
    return [(fit("what happened", LABEL), "dim"), ("".join(cells), "warn")]


def under_cursor(line: Timeline, moments: Sequence[Moment], look: Look, width: int) -> list[Line]:
    """The exact time of the cursor, who had each CPU then from when to when, and what is marked there."""
    at, zero = look.at_ns, look.zero_ns
    found: list[Line] = [
        [("at ", "dim"), (f"{micro(at - zero)} s", "strong"), (f"   trace clock {at / 1e9:.6f} s", "dim")]
    ]
    for cpu in line.cpus:
        it = line.stretch(cpu, at)
        if it is not None:
            who = {UNKNOWN: "not known", IDLE: "idle"}.get(it.pid) or _name(line, it.pid)
            times = (
                f"{micro(it.from_ns - zero)} to {micro(it.to_ns - zero)} s, {_length(it.to_ns - it.from_ns)}"
            )
            found.append([(f"  cpu {cpu:<3} ", "strong"), (f"{cut(who, 24):24} ", ""), (times, "dim")])
    for pid in look.pids:
        row = line.next_event(pid, at + 1, -1)
        if row is not None:
            what = f"{row.kind} on cpu {row.cpu} at {micro(row.time_ns - zero)} s"
            found.append([(f"  {cut(_name(line, pid), 24):24} ", "key"), (f"last {what}", "dim")])
    cell_ns = (look.to_ns - look.from_ns) // max(1, width - LABEL)
    for moment in moments:
        then = line.trace_ns(moment.mono_ns)
        if then is not None and abs(then - at) <= cell_ns:
            text = cut(clean(moment.text), max(10, width - 24))
            found.append([(f"  {MARKS[moment.kind]} {moment.kind:10} ", "warn"), (text, "")])
    return found


def _legend(line: Timeline, cells: Iterable[Cell], look: Look, letters: Letters, width: int) -> list[Line]:
    known = {cell.pid: letters.of(cell) for cell in cells}
    lines: list[Line] = [[]]
    used = 0
    ran = line.run_times(look.from_ns, look.to_ns)
    for pid in sorted(known, key=lambda it: -ran.get(it, 0)):
        letter, role = known[pid]
        text = f" {_name(line, pid)} {ran.get(pid, 0) / max(1, look.to_ns - look.from_ns) * 100:.0f} %  "
        if used and used + len(text) + 1 > width:
            lines.append([])
            used = 0
        lines[-1] += [(letter, role), (text, "")]
        used += len(text) + 1
    signs = "· idle   ? not known   capitals: rt, dl   █ runs ▒ waits · sleeps"
    marks = "  ".join([*(f"{sign} {kind}" for kind, sign in MARKS.items()), f"{_SEVERAL} several"])
    lines += [[(cut(signs, width), "dim")], [(cut(marks, width), "dim")]]
    if line.unknown:
        lines.append([(cut(clean(line.unknown), width), "warn")])
    lines.append([(counted(line.events, "event"), "dim")])
    return lines


def micro(ns: int) -> str:
    """A time to the microsecond, with its sign."""
    return f"{ns / 1e9:+.6f}"


def _length(ns: int) -> str:
    """How long something took, exactly, in the unit that suits it."""
    if ns < 1e6:
        return f"{ns / 1e3:.1f} µs"
    return f"{ns / 1e6:.4f} ms" if ns < 1e9 else f"{ns / 1e9:.6f} s"


def _seconds(ns: int, step: int) -> str:
    """A time with as many digits as tell it from its neighbours."""
    digits = next((it for it in range(10) if step % 10 ** (9 - it) == 0), 9)
    return f"{ns / 1e9:+.{digits}f}" if ns else "0"


def _name(line: Timeline, pid: int) -> str:
    return words.task(line.comms.get(pid, "?"), pid)
