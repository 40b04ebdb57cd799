"""A pane with a table that is sorted by the column of one's choice, with keys or by a click on its heading."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from textual.message import Message

from ktstr_tui.text.lines import Line
from ktstr_tui.text.table import PID, Column, fitting, heading, ordered, row_line
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View

T = TypeVar("T")


class TablePane(LinePane, Generic[T]):
    """Rows of one kind. The cursor follows its row when the order changes."""

    table: ClassVar[Sequence[Column[T]]]
    sort_keys: ClassVar[tuple[str, str]]
    """Ids of the actions that choose the column and reverse the order."""

    class Moved(Message):
        """Another row is under the cursor."""

    def __init__(self, name: str, *more: Any) -> None:  # noqa: ANN401 - what another base of a pane takes
        super().__init__(name, *more)
        self.sort_column = 0
        self.reverse = False
        self._all: list[T] = []
        self._items: list[T] = []

    # What a table says.

    def items(self, view: View) -> Iterable[T]:
        """All rows, before the filter."""
        raise NotImplementedError

    def searchable(self, item: T) -> str:
        """What the filter looks at."""
        raise NotImplementedError

    def identity(self, item: T) -> object:
        """What tells a row from others."""
        raise NotImplementedError

    def line(self, item: T, shown: Sequence[Column[T]]) -> Line:
        """Compose a row."""
        return row_line(shown, item)

    # How it is loaded and painted.

    def load(self, view: View, width: int) -> int:
        kept = self.chosen()
        self._all = list(self.items(view))
        # What the filter looks at is composed only for a filter: it costs as much as the order.
        rows = [it for it in self._all if self.keeps(self.searchable(it))] if self.filter else self._all
        self._items = ordered(rows, self.table[self.sort_column], reverse=self.reverse)
        if kept is not None:
            ids = [self.identity(it) for it in self._items]
            mine = self.identity(kept)
            self.cursor = ids.index(mine) if mine in ids else self.cursor
        return len(self._items)

    def caption(self, view: View) -> str:
        name = self.table[self.sort_column].name
        if name == PID or name in [it.name for it in fitting(self.table, self._width())]:
            return ""
        return f"sorted by {name} {'▲' if self.reverse else '▼'}"

    def kept(self) -> str:
        return f"{len(self._items)} of {len(self._all)}"

    def offers(self, view: View) -> dict[str, str]:
        found, (sort, reverse) = super().offers(view), self.sort_keys
        return {**found, sort: "Sort", reverse: "Reverse"} if self._all else found

    def chosen(self) -> T | None:
        """The row under the cursor."""
        return self._items[self.cursor] if self.cursor < len(self._items) else None

    def heading(self, width: int) -> Line | None:
        if not self._items:
            return None
        return heading(fitting(self.table, width), self.table[self.sort_column].name, reverse=self.reverse)

    def row(self, index: int, width: int) -> Line:
        return self.line(self._items[index], fitting(self.table, width))

    # How it is sorted.

    def sort_next(self) -> None:
        """Sort by the next column that is shown, or by pid, which the task column shows; then by the first again."""
        shown = [it.name for it in fitting(self.table, self._width())]
        wanted = [at for at, it in enumerate(self.table) if it.name in shown or it.name == PID]
        self.sort_by(next((at for at in wanted if at > self.sort_column), 0))

    def sort_by(self, index: int, *, reverse: bool | None = None) -> None:
        """Sort by a column."""
        self.sort_column = index
        self.reverse = self.reverse if reverse is None else reverse
        if self._view is not None:
            self.sync(self._view, force=True)
            self.move_to(self.cursor)

    def flip(self) -> None:
        """Reverse the order."""
        self.sort_by(self.sort_column, reverse=not self.reverse)

    def heading_clicked(self, x: int) -> None:
        for it in fitting(self.table, self.size.width):
            if x <= it.width:
                index = self.table.index(it)
                self.sort_by(index, reverse=not self.reverse if index == self.sort_column else False)
                return
            x -= it.width + 1

    def move_to(self, index: int) -> None:
        super().move_to(index)
        self.post_message(self.Moved())

    def after_load(self, rows_before: int) -> None:
        self.post_message(self.Moved())
