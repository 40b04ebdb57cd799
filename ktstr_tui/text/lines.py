"""Lines: the plain values that panes show, and the small drawings made of characters.

A line is a list of ``(text, role)`` spans. A role names *what* a text is (``bad``, ``dim``, ``ext``); the
stylesheet decides how it looks. So the functions that compose lines need no terminal, are tested as text, and
cannot turn a task's name into markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from rich.cells import cell_len, set_cell_size

from ktstr_tui.text.plain import ABSENT as ABSENT  # noqa: PLC0414 - is part of this module too
from ktstr_tui.text.plain import clean as clean  # noqa: PLC0414

Span: TypeAlias = tuple[str, str]
Line: TypeAlias = list[Span]
Align: TypeAlias = Literal["left", "right"]

_LEVELS = "▁▂▃▄▅▆▇"
"""Without the full block, so that sparklines in rows below each other stay apart."""
_UNITS = re.compile(r"(?<=\d) (?=(?:s|ms|µs|min|h|%|B|KiB|MiB|GiB)\b)|(?<=\bcpu) (?=\d)|(?<=\bDSQ) (?=0x)")
"""Spaces at which no line is broken."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def cut(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` cells, the last being an ellipsis when something was cut."""
    if cell_len(text) <= width:
        return text
    return "" if width <= 0 else set_cell_size(text, width - 1) + "…"


def fit(text: str, width: int, align: Align = "left") -> str:
    """Cut or pad ``text`` to exactly ``width`` cells."""
    text = cut(text, width)
    padding = " " * (width - cell_len(text))
    return padding + text if align == "right" else text + padding


def width_of(line: Line) -> int:
    """Cells that a line takes."""
    return sum(cell_len(text) for text, _role in line)


def faded(line: Line) -> Line:
    """The line without colours, for what was so and is not so now; headings stay what they are."""
    return [(text, role if role == "head" else "dim") for text, role in line]


def frozen(line: Line) -> Line:
    """The line without green: what is well is not in progress while the guest is frozen."""
    return [(text, "info" if role == "ok" else role) for text, role in line]


def text_of(line: Line) -> str:
    """A line's text without roles, as it is copied."""
    return "".join(text for text, _role in line).rstrip()


def spread(left: Line, right: Line, width: int) -> Line:
    """``left`` and ``right`` at the two ends of ``width`` cells; ``right`` is dropped when both do not fit."""
    gap = width - width_of(left) - width_of(right)
    return [*left, (" " * gap, ""), *right] if gap > 0 else left


def clip(line: Line, width: int) -> Line:
    """The line cut to ``width`` cells, at a mark where something was cut."""
    kept: Line = []
    room = width
    for text, role in line:
        if cell_len(text) > room:
            return [*kept, (cut(text, room), role)] if room > 0 else kept
        kept.append((text, role))
        room -= cell_len(text)
    return kept


def wrap(text: str, width: int, *, first: int | None = None, most: int | None = None) -> list[str]:
    """Break ``text`` into lines of at most ``width`` cells, at spaces but not between a number and its unit.

    Words longer than a line are broken anywhere.

    Args:
        text: The text.
        width: Cells of a line.
        first: Cells of the first line, where something stands beside it.
        most: How many lines there may be; the last one then ends in a mark when something is left out.
    """
    lines: list[str] = []
    line, room = "", width if first is None else first
    for word in _UNITS.sub("\xa0", text).split(" "):
        if not word:
            continue
        if line and cell_len(f"{line} {word}") > room:
            lines.append(line)
            line, room = "", width
        while not line and cell_len(word) > room > 0:
            head = set_cell_size(word, room).rstrip()
            lines.append(head)
            word, room = word[len(head) :], width  # noqa: PLW2901 - the rest of a broken word
        line = f"{line} {word}" if line else word
    lines = [*lines, line] if line or not lines else lines
    if most is not None and len(lines) > most:
        last = width if most > 1 or first is None else first
        lines = [*lines[: most - 1], cut(" ".join(lines[most - 1 :]), last)]
    return [it.replace("\xa0", " ") for it in lines]


def sparkline(values: Sequence[float | None], width: int, top: float | None = None, empty: str = "·") -> str:
    """The newest ``width`` values as bars of one character.

    Zero is the lowest bar, an unreadable value (None) a gap, and no value yet is ``empty``.

    Args:
        values: Oldest first.
        width: Characters.
        top: The value of a full bar; the largest value shown when not given.
        empty: What stands where no sample was taken yet.
    """
    shown = values[-width:] if width > 0 else ()
    peak = top if top is not None else max((value for value in shown if value is not None), default=0.0)
    bars = "".join(" " if value is None else _bar_of(value, peak) for value in shown)
    return empty * (width - len(bars)) + bars


def _bar_of(value: float, peak: float) -> str:
    if value <= 0 or peak <= 0:
        return _LEVELS[0]
    return _LEVELS[min(6, max(1, round(value / peak * 6)))]


def gauge(share: float, width: int) -> tuple[str, str]:
    """A horizontal bar of ``width`` cells as ``(filled, rest)``, exact to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[part] if part else "")
    return filled, " " * (width - len(filled))


def columns(cells: Iterable[tuple[str, str, int, Align]], gap: str = " ") -> Line:
    """A table row from ``(text, role, width, align)`` cells."""
    line: Line = []
    for text, role, width, align in cells:
        if line:
            line.append((gap, ""))
        line.append((fit(text, width, align), role))
    return line
