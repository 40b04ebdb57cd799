"""Tables that can be sorted by every column: what a column is, whoever paints it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ktstr_tui.text.lines import Align, Line, columns

T = TypeVar("T")


class Column(NamedTuple, Generic[T]):
    """One column."""

    name: str
    width: int
    align: Align
    key: Callable[[T], Any]
    """What is sorted by, the first on top; None for what is absent, which always comes last."""
    text: Callable[[T], str]
    role: Callable[[T], str] = lambda _: ""


PID = "pid"
"""The column that is not painted, because the names of tasks show it."""


def fitting(table: Sequence[Column[T]], width: int) -> list[Column[T]]:
    """Return the columns that fit into ``width`` cells, from the left; all when it is 0."""
    shown: list[Column[T]] = []
    used = 0
    for column in table:
        if column.name == PID:
            continue
        used += column.width + 1
        if width and used > width + 1:
            break
        shown.append(column)
    return shown


def ordered(rows: Iterable[T], column: Column[T], *, reverse: bool = False) -> list[T]:
    """Return rows in the order of a column."""
    rows = list(rows)
    known = [row for row in rows if column.key(row) is not None]
    absent = [row for row in rows if column.key(row) is None]
    return sorted(known, key=column.key, reverse=reverse) + absent


def heading(shown: Sequence[Column[T]], sorted_by: str, *, reverse: bool = False) -> Line:
    """Return the names of columns, with a mark at the one that is sorted by."""
    mark = "▲" if reverse else "▼"
    cells: list[tuple[str, str, int, Align]] = []
    for it in shown:
        if it.name == "task" and sorted_by == PID:
            cells.append((f"task, by pid{mark}", "key", it.width, it.align))
        elif it.name == sorted_by:
            cells.append((f"{it.name}{mark}", "key", it.width, it.align))
        else:
            cells.append((it.name, "head", it.width, it.align))
    return columns(cells)


def row_line(shown: Sequence[Column[T]], row: T) -> Line:
    """Return a row."""
    return columns((it.text(row), it.role(row), it.width, it.align) for it in shown)
