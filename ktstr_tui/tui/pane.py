"""The widgets that show lines: `LineBar` for a few fixed rows and `LinePane` for lists that scroll.

Painting is pull: the app's paint clock calls ``sync(view)`` on what is visible, a pane rebuilds its lines only
when what it depends on has changed, and then asks for one refresh. `LinePane` renders just the rows that the
terminal shows, so a table of 255 CPUs costs no more than one of 40.

Why lines, and not Textual's DataTable, Tree and ProgressBar? Every cell of these panes may change with every sample,
up to 30 times a second. A DataTable keeps its cells and is updated cell by cell; a line pane keeps none, it asks for
the rows that are visible while it paints. Column widths follow the width of the pane, one line may hold text, a gauge
and a sparkline, and a line can be tested, copied and printed by a command without a terminal. A Tree keeps a node for
each of the 4,096 entries of a BPF map; a ProgressBar is a widget of its own, which cannot be a cell of a row.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from ktstr_tui.model.text import counted
from ktstr_tui.text.filters import keeps
from ktstr_tui.text.lines import Line, cut, text_of, width_of, wrap
from ktstr_tui.tui import roles
from ktstr_tui.tui.actions import bindings

if TYPE_CHECKING:
    from ktstr_tui.tui.view import View


class StyledLines(Widget):
    """Turns lines into strips with the colours of the theme, see `roles`."""

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._styles_of_roles: dict[tuple[str, bool], Style] = {}

    def notify_style_update(self) -> None:
        self._styles_of_roles.clear()
        super().notify_style_update()

    def restyle(self) -> None:
        """Take over the colours of another theme."""
        self.notify_style_update()
        self.refresh()

    def _style(self, role: str, cursor: bool = False) -> Style:
        style = self._styles_of_roles.get((role, cursor))
        if style is None:
            style = self.rich_style
            for it in filter(None, (role, roles.CURSOR if cursor else "")):
                style += roles.style(self.app, it)
            self._styles_of_roles[role, cursor] = style
        return style

    def _strip(self, line: Line, width: int, offset: int = 0, cursor: bool = False) -> Strip:
        segments = [Segment(text, self._style(role, cursor)) for text, role in line if text]
        return Strip(segments).crop_extend(offset, offset + width, self._style("", cursor))


class LineBar(StyledLines):
    """A few rows above or between panes, as many as `lines` gives; takes no focus."""

    DEFAULT_CSS = "LineBar { height: auto; }"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lines: list[Line] = []
        self._key: Hashable = None
        self._width = 0
        self._view: View | None = None

    def lines(self, view: View, width: int) -> list[Line]:
        """Compose the bar for ``width`` cells."""
        raise NotImplementedError

    def sync(self, view: View) -> None:
        """Take over what changed."""
        self._view = view
        self._compose_lines(self.size.width)

    def _compose_lines(self, width: int) -> None:
        if self._view is None or not width:
            return
        before = self._lines
        self._lines = self.lines(self._view, width)
        self._width = width
        if self._lines != before:
            self.refresh(layout=len(self._lines) != len(before))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._width:
            self._compose_lines(width)
        return max(1, len(self._lines))

    def on_resize(self) -> None:
        self._compose_lines(self.size.width)

    def render_line(self, y: int) -> Strip:
        line = self._lines[y] if y < len(self._lines) else []
        return self._strip(line, self.size.width)


class Moment(NamedTuple):
    """An instant of a run that a row is about."""

    mono_ns: int
    """On the run's clock."""
    what: str
    """In words."""


class LinePane(StyledLines, ScrollView, can_focus=True):
    """A scrolling list of lines with a cursor, an optional heading that stays, and words for when it is empty."""

    # Textual gives a widget the style sheets of its first base only, here `StyledLines`; without these lines of
    # `ScrollView` nothing would scroll with the mouse wheel, and no bar would show that rows are hidden.
    DEFAULT_CSS = "LinePane { overflow-x: auto; overflow-y: auto; }"
    BINDINGS: ClassVar[list[BindingType]] = bindings("pane")
    label: ClassVar[str] = ""
    """Title on the border and on the tab."""
    number: ClassVar[str] = ""
    """The key that focuses the pane."""
    tab: ClassVar[str] = ""
    """Short title for a narrow tab; the label when empty."""
    opens: ClassVar[bool] = False
    """Enter on a row does something."""
    row_word: ClassVar[str] = "row"
    """What a row is called where rows are counted."""
    wide_rows: ClassVar[bool] = False
    """Rows may be wider than the pane, which then scrolls sideways."""

    class RowOpened(Message):
        """Enter or a click on the row under the cursor."""

        def __init__(self, pane: LinePane, row: int) -> None:
            super().__init__()
            self.pane = pane
            self.row = row

        @property
        def control(self) -> LinePane:
            return self.pane

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.cursor = 0
        self.filter = ""
        """Only rows that this lets through are loaded; see `text.filters`."""
        self._key: Hashable = object()
        self._rows = 0
        self._view: View | None = None

    # What a pane says.

    def key(self, view: View) -> Hashable:
        """What the pane depends on; while it compares equal, nothing is repainted."""
        return view.state.seq

    def load(self, view: View, width: int) -> int:
        """Take over the state and return the number of rows."""
        raise NotImplementedError

    def row(self, index: int, width: int) -> Line:
        """Compose one row; called for visible rows only."""
        raise NotImplementedError

    def heading(self, width: int) -> Line | None:
        """Column names that stay on top."""
        return None

    def tone(self, line: Line) -> Line:
        """A row of a pane about now, in the colours of what is now, was, or is frozen."""
        return line if self._view is None else self._view.tone(line)

    def empty(self, view: View) -> str:
        """What will appear here, or why nothing will."""
        return ""

    def caption(self, view: View) -> str:
        """A short remark for the border, such as a count."""
        return ""

    def offers(self, view: View) -> dict[str, str]:
        """Ids of the actions that do something with the row under the cursor, and their labels in the footer."""
        found = {"row.copy": "Copy"} if self._rows else {}
        if self._rows or self.filter:
            found["view.filter"] = f"Filter: {cut(self.filter, 12)}" if self.filter else "Filter"
        return found

    def moment(self) -> Moment | None:
        """When what the row under the cursor is about happened; None for rows that are about no instant."""
        return None

    def keeps(self, text: str) -> bool:
        """Whether the filter lets a row through that contains this text."""
        return keeps(self.filter, text)

    def kept(self) -> str:
        """How many rows the filter left."""
        return counted(self._rows, self.row_word)

    # How it is painted.

    def sync(self, view: View, force: bool = False) -> None:
        """Repaint when what the pane depends on has changed."""
        self._view = view
        seen = (view.connection, view.state.ended is not None, view.state.frozen is not None)
        key = (self.key(view), self.filter, seen, self.size, self._width())
        if key == self._key and not force:
            return
        self._key = key
        before = self._rows
        self._rows = self.load(view, self._width())
        self.cursor = max(0, min(self.cursor, self._rows - 1))
        heading = self.heading(self._width()) is not None
        widest = self._widest() if self.wide_rows else 0
        height = self._rows or len(self._empty_lines(self._width()))
        size = Size(widest, height + heading)
        if size != self.virtual_size:
            self.virtual_size = size
        parts = [f"filter: {self.filter} ({self.kept()})" if self.filter else "", self.caption(view)]
        self.border_subtitle = Content(" · ".join(part for part in parts if part))
        self.after_load(before)
        self.refresh()

    def after_load(self, rows_before: int) -> None:
        """A hook for panes that follow their end."""

    def _width(self) -> int:
        return self.scrollable_content_region.width or self.size.width

    def _widest(self) -> int:
        return max((width_of(self.row(index, 0)) for index in range(self._rows)), default=0)

    def on_resize(self) -> None:
        if self._view is not None:
            self.sync(self._view)

    def watch_show_vertical_scrollbar(self) -> None:
        """Compose the rows for the width that the scroll bar leaves."""
        self.call_after_refresh(self.on_resize)

    def render_line(self, y: int) -> Strip:
        width = self._width()
        if self._view is None:
            return self._strip([], width)
        heading = self.heading(width)
        if heading is not None:
            if y == 0:
                return self._strip(heading, width, self.scroll_offset.x)
            y -= 1
        index = y + self.scroll_offset.y
        if not self._rows:
            empty = self._empty_lines(width)
            return self._strip(empty[index] if index < len(empty) else [], width)
        if index >= self._rows:
            return self._strip([], width)
        cursor = self.has_focus and index == self.cursor
        return self._strip(self.row(index, width), width, self.scroll_offset.x, cursor)

    def _empty_lines(self, width: int) -> list[Line]:
        text = self.empty(self._view) if self._view is not None else ""
        if self.filter:
            text = f"No {self.row_word} matches {self.filter!r}. Clear the filter to show all."
        return [[(part, "dim")] for part in wrap(text, max(1, width))]

    # How it is moved through.

    @property
    def rows(self) -> int:
        """Number of rows now."""
        return self._rows

    def row_text(self) -> str:
        """The row under the cursor as it is copied."""
        return text_of(self.row(self.cursor, 0)).strip() if self._rows else ""

    def move_to(self, index: int) -> None:
        """Put the cursor on a row and show it."""
        self.cursor = max(0, min(index, self._rows - 1))
        heading = self.heading(self.size.width) is not None
        height = max(1, self.size.height - heading)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False, force=True)
        self.refresh()

    def action_cursor(self, step: int) -> None:
        self.move_to(self.cursor + step)

    def action_page(self, pages: int) -> None:
        self.move_to(self.cursor + pages * max(1, self.size.height - 2))

    def action_edge(self, where: str) -> None:
        self.move_to(0 if where == "top" else self._rows - 1)

    def action_sideways(self, step: int) -> None:
        self.scroll_to(x=self.scroll_offset.x + step, animate=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.opens if action == "open" else True

    def action_open(self) -> None:
        if self._rows:
            self.post_message(self.RowOpened(self, self.cursor))

    def on_click(self, event: events.Click) -> None:
        heading = self.heading(self.size.width) is not None
        gutter = self.gutter
        y = event.y - gutter.top - heading
        if y < 0:
            self.heading_clicked(event.x - gutter.left + self.scroll_offset.x)
            return
        index = y + self.scroll_offset.y
        if index >= self._rows:
            return
        again = index == self.cursor and event.chain > 1
        self.move_to(index)
        if again:
            self.action_open()

    def heading_clicked(self, x: int) -> None:
        """A click on the heading, at a column counted from the row's begin."""

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh(Region(0, 0, self.size.width, self.size.height))
