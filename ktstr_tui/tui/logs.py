"""The event log and the guest's output: they follow their end until the reader moves away from it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import ClassVar

from ktstr_tui.model.state import LogLine, RunState
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.lines import Line, clean, fit, wrap
from ktstr_tui.text.log_lines import without_repeats
from ktstr_tui.tui.pane import LinePane, Moment
from ktstr_tui.tui.view import View

_MARKS = {"info": ("·", "dim", ""), "warning": ("▲", "warn", "warn"), "error": ("■", "bad", "bad")}


class LogPane(LinePane):
    """The newest events in words."""

    label = "log"
    row_word = "line"
    number = "4"
    list_name: ClassVar[str] = "log"
    """The state's list, and its name among the forgotten."""
    indent: ClassVar[int] = 24
    """Cells before the text."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._shown: list[tuple[LogLine, str, bool]] = []
        """Rows: the log line, the part of its text that fits, whether it is the first part."""
        self._lines = 0
        self._start_ns = 0
        self._follow = True
        self._unseen = 0
        self._last: tuple[int, int] = (0, 0)

    def key(self, view: View) -> Hashable:
        return (
            *self._count(view.state),
            view.state.partial.copy() if self.list_name == "output" else "",
        )

    def _count(self, state: RunState) -> tuple[int, int]:
        return len(getattr(state, self.list_name)), state.forgotten.get(self.list_name, 0)

    def load(self, view: View, width: int) -> int:
        state = view.state
        lines: list[LogLine] = list(getattr(state, self.list_name))
        if self.list_name == "output":
            lines += [LogLine(state.mono_ns, "info", stream, text) for stream, text in state.partial.items()]
        else:
            lines = list(without_repeats(lines))
        count, forgotten = self._count(state)
        arrived = max(0, count + forgotten - sum(self._last))
        if not self._follow:
            self.cursor -= forgotten - self._last[1]
            self._unseen += arrived
        self._last = (count, forgotten)
        lines = [it for it in lines if self.keeps(f"{it.source} {it.text}")]
        self._lines = len(lines)
        self._shown = list(self._broken(lines, max(20, width - self.indent)))
        self._start_ns = state.started_mono_ns
        return len(self._shown)

    def _broken(self, lines: list[LogLine], room: int) -> Iterator[tuple[LogLine, str, bool]]:
        for it in lines:
            text = clean(it.text)
            if len(text) <= room and text.isascii():
                yield it, text, True
                continue
            for number, part in enumerate(self._break(text, room)):
                yield it, part, number == 0

    def _break(self, text: str, room: int) -> list[str]:
        return wrap(text, room)

    def row_text(self) -> str:
        if not self._shown:
            return ""
        it = self._shown[self.cursor][0]
        return f"{words.offset(it.mono_ns, self._start_ns).strip()} {clean(it.source)} {clean(it.text)}"

    def moment(self) -> Moment | None:
        if not self._shown:
            return None
        it = self._shown[self.cursor][0]
        return Moment(it.mono_ns, f"the line at {words.offset(it.mono_ns, self._start_ns).strip()}")

    def after_load(self, rows_before: int) -> None:
        if self._follow and self.rows:
            super().move_to(self.rows - 1)

    def move_to(self, index: int) -> None:
        super().move_to(index)
        self._follow = self.cursor >= self.rows - 1
        if self._follow:
            self._unseen = 0

    def caption(self, view: View) -> str:
        parts = []
        if self._unseen and not self._follow:
            parts.append(counted(self._unseen, "new line") + " below (End to follow)")
        forgotten = view.state.forgotten.get(self.list_name, 0)
        if forgotten:
            parts.append(counted(forgotten, "older entry", "older entries") + " dropped")
        return " · ".join(parts)

    def kept(self) -> str:
        return counted(self._lines, self.row_word)

    def row(self, index: int, width: int) -> Line:
        it, text, first = self._shown[index]
        mark, mark_role, role = _MARKS[it.severity]
        if not first:
            return [(" " * self.indent, ""), (text, role)]
        return [
            (f"{words.offset(it.mono_ns, self._start_ns)} ", "dim"),
            (f"{mark} ", mark_role),
            (f"{fit(clean(it.source), 11)} ", "head"),
            (text, role),
        ]

    def empty(self, view: View) -> str:
        return "No events." if view.over else "No events yet."


_OUTPUT_ROLES: dict[str, str] = {
    "stderr": "warn",
    "dmesg": "dim",
    "crash": "bad",
    "console": "dim",
    "boot": "dim",
}


class OutputPane(LogPane):
    """What the guest wrote: programs, the scheduler's log, the kernel's log and, if it crashed, why."""

    label = "output"
    tab = "out"
    number = "5"
    list_name = "output"
    indent = 22

    def _break(self, text: str, room: int) -> list[str]:
        return [text[begin : begin + room] for begin in range(0, len(text), room)] or [""]

    def row(self, index: int, width: int) -> Line:
        it, text, first = self._shown[index]
        role = _OUTPUT_ROLES.get(it.source, "")
        if not first:
            return [(" " * self.indent, ""), (text, role)]
        return [
            (f"{words.offset(it.mono_ns, self._start_ns)} ", "dim"),
            (f"{fit(clean(it.source), 11)} ", "head"),
            (text, role),
        ]

    def empty(self, view: View) -> str:
        return (
            "No output."
            if view.past
            else "No output yet. The guest's programs, kernel log and scheduler log appear here."
        )
