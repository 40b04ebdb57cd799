"""The pane of a report that shows the BPF maps as a tree."""

from __future__ import annotations

from collections.abc import Hashable

from ktstr_tui.model.report import CaptureReport, MapReport
from ktstr_tui.model.text import counted
from ktstr_tui.text.lines import Line, clean, cut
from ktstr_tui.text.report_lines import section_note
from ktstr_tui.tui.report_panes import ReportPane
from ktstr_tui.tui.view import View


class _Node:
    """A node of the maps' tree, with what lies under it."""

    __slots__ = ("children", "depth", "path", "role", "text", "value")

    def __init__(
        self,
        path: tuple[str, ...],
        depth: int,
        text: str,
        value: str,
        children: list[tuple[str, object]],
        role: str,
    ) -> None:
        self.path = path
        self.depth = depth
        self.text = text
        self.value = value
        self.children = children
        self.role = role


class MapsPane(ReportPane):
    """The BPF maps as a tree; enter opens and closes what is under the cursor."""

    wide_rows = True
    opens = True

    def __init__(self, name: str, report: CaptureReport) -> None:
        super().__init__(name, report=report, section="maps")
        self._open: set[tuple[str, ...]] = set()
        self._tree: list[_Node] = []
        self._notes: list[Line] = []

    def key(self, view: View) -> Hashable:
        return id(self.report), len(self._open)

    def show(self, report: CaptureReport) -> None:
        self._open.clear()
        super().show(report)

    def load(self, view: View, width: int) -> int:
        if not self._open:
            self._open = {("",), *((str(it.id),) for it in self.report.maps if "." in it.name)}
        self._notes = section_note(self.report, "maps")
        self._tree = []
        for it in self.report.maps:
            self._add(_map_node(it))
        if self.filter:
            self._notes = []
        return len(self._tree) + (len(self._notes) if self._tree else 0)

    def _add(self, node: _Node, inside: bool = False) -> bool:
        """Show a node with what is open below it; with a filter, if it or something below it, open or not, matches.

        Args:
            node: The node.
            inside: Whether a node above it matches, so that this one is shown in any case.
        """
        place = len(self._tree)
        self._tree.append(node)
        matches = inside or self.keeps(f"{node.text} {node.value}")
        below = False
        if node.path in self._open or (self.filter and not matches):
            for child in _children(node):
                below |= self._add(child, matches)
        if not matches and not below:
            del self._tree[place:]
        return matches or below

    def row(self, index: int, width: int) -> Line:
        if index < len(self._notes):
            return self._notes[index]
        node = self._tree[index - len(self._notes)]
        mark = " " if not node.children else "▾" if node.path in self._open else "▸"
        line: Line = [(f"{'  ' * node.depth}{mark} ", "key"), (node.text, node.role)]
        return [*line, (f" {node.value}", "" if node.depth else "dim")]

    def _node(self) -> _Node | None:
        """The node under the cursor."""
        index = self.cursor - len(self._notes)
        return self._tree[index] if 0 <= index < len(self._tree) else None

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        node = self._node()
        if node is not None and node.children:
            found["row.open"] = "Close" if node.path in self._open else "Open"
        return found

    def action_open(self) -> None:
        node = self._node()
        if node is None or not node.children:
            return
        self._open ^= {node.path}
        if self._view is not None:
            self.sync(self._view, force=True)


def _map_node(it: MapReport) -> _Node:
    if it.count > 1:
        remark = f"{clean(it.map_type)}, ids {it.id} to {it.state.get('last_id')}, key {it.key_size} B"
        return _Node((str(it.id),), 0, f"{it.count:,} maps without a name", remark, [], "strong")
    count = (
        f"{len(it.entries)} of {counted(it.max_entries, 'entry', 'entries')}"
        if it.max_entries
        else counted(len(it.entries), "entry", "entries")
    )
    sizes = f"key {it.key_size} B, value {it.value_size} B"
    remark = f"{clean(it.error)}; " if it.error else "truncated; " if it.truncated else ""
    value = f"{remark}{clean(it.map_type)}, {count}, {sizes}, id {it.id}"
    value += "".join(f", {clean(str(name))} {clean(str(item))}" for name, item in it.state.items())
    children: list[tuple[str, object]] = [(_label(entry.key), entry.value) for entry in it.entries]
    if it.max_entries == 1 and len(it.entries) == 1 and isinstance(it.entries[0].value, dict):
        children = [(clean(str(name)), value) for name, value in it.entries[0].value.items()]
    return _Node((str(it.id),), 0, clean(it.name), value, children, "strong")


def _label(key: object) -> str:
    return clean(str(key)) if isinstance(key, (int, str)) else clean(_brief(key))


def _children(node: _Node) -> list[_Node]:
    nodes = []
    for index, (name, value) in enumerate(node.children):
        inside: list[tuple[str, object]] = []
        if isinstance(value, dict):
            inside = [(clean(str(key)), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple)):
            inside = [(f"[{number}]", item) for number, item in enumerate(value)]
        nodes.append(_Node((*node.path, f"{index}"), node.depth + 1, name, _brief(value), inside, "accent"))
    return nodes


def _brief(value: object) -> str:
    if isinstance(value, dict):
        text = ", ".join(f"{key}={_brief(item)}" for key, item in list(value.items())[:6])
        return clean(cut(f"{{{text}}}", 100))
    if isinstance(value, (list, tuple)):
        text = ", ".join(_brief(item) for item in list(value)[:12])
        return clean(cut(f"[{text}]" if len(value) <= 12 else f"[{text}, … {len(value)} in all]", 100))
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return clean(str(value)) or '""'
