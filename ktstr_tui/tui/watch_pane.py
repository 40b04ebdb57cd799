"""The watchpoints panel: the slots, what was written last and by whom, and below them the hits, newest first."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from rich.cells import cell_len
from textual.content import Content

from ktstr_tui.model.report import RunningTask
from ktstr_tui.model.state import Hit, WatchpointState
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.lines import Align, Line, clean, cut, fit, spread, text_of
from ktstr_tui.text.report_lines import stack_lines
from ktstr_tui.tui.dialogs import DialogPage
from ktstr_tui.tui.pane import LinePane, Moment
from ktstr_tui.tui.view import View

_ROLES = {"armed": "ok", "pending": "dim", "paused": "warn", "polled": "warn", "failed": "bad"}
_STACK_WIDTH = 100
_AT_WIDTH = 8
_WHO_WIDTH = 16
_WHOLE = 400
"""Cells in which a line is not cut."""


class WatchPane(LinePane):
    """Watchpoint slots and their hits."""

    label = "watchpoints"
    tab = "watch"
    number = "7"
    opens = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lines: list[Line] = []
        self._slots: list[int | None] = []
        self._hits: list[Hit | None] = []

    def key(self, view: View) -> Hashable:
        slots = view.state.watchpoints.values()
        return (
            tuple((it.slot, it.expression, it.state, it.detail, it.address, it.hits) for it in slots),
            len(view.state.hits),
            view.state.hits[-1].mono_ns if view.state.hits else 0,
            view.state.seq == 0,
        )

    def load(self, view: View, width: int) -> int:
        self._lines, self._slots, self._hits = [], [], []
        hits = view.state.hits[::-1]
        for slot, watch in sorted(view.state.watchpoints.items()):
            last = next((hit for hit in hits if hit.slot == slot), None)
            lines = slot_lines(watch, width, past=bool(view.past))
            if not self.keeps(" ".join(map(text_of, slot_lines(watch, _WHOLE, past=bool(view.past))))):
                continue
            for line in lines:
                self._add(view.tone(line) if not view.past else line, slot, last)
        whole = HitTable(hits, _WHOLE, view.state.started_mono_ns)
        hits = [hit for hit in hits if self.keeps(text_of(whole.line(hit)))]
        if hits:
            self._add([("hits, newest first", "head")], None, None)
        table = HitTable(hits, width, view.state.started_mono_ns)
        for hit in hits:
            slot_there = hit.slot if hit.slot in view.state.watchpoints else None
            self._add(table.line(hit), slot_there, hit)
        return len(self._lines)

    def _add(self, line: Line, slot: int | None, hit: Hit | None) -> None:
        self._lines.append(line)
        self._slots.append(slot)
        self._hits.append(hit)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]

    def empty(self, view: View) -> str:
        if view.source.controllable and not view.refusal("watch"):
            return "No watches yet. w adds one. Slot 0 is reserved for scx_root and then its exit_kind."
        if view.over:
            return "No watches."
        return "No watches yet. Slot 0 is reserved for scx_root and then its exit_kind."

    def caption(self, view: View) -> str:
        if view.refusal("watch"):
            return ""
        return "w add · del remove · u resume" if len(view.state.watchpoints) > 1 else "w add"

    def offers(self, view: View) -> dict[str, str]:
        found = {**super().offers(view), "watch.add": "Add watch"}
        slot = self.slot()
        if self.hit() is not None:
            found["row.open"] = "Show hit"
        if slot:
            found["watch.remove"] = "Remove"
            if view.state.watchpoints[slot].state == "paused":
                found["watch.resume"] = "Resume"
        return found

    def slot(self) -> int | None:
        """The slot of the row under the cursor."""
        return self._slots[self.cursor] if self.cursor < len(self._slots) else None

    def moment(self) -> Moment | None:
        hit = self.hit()
        what = "write" if hit is None or hit.arguments is None else "call"
        return None if hit is None else Moment(hit.mono_ns, f"this {what} ({clean(hit.expression)})")

    def hit(self) -> Hit | None:
        """The hit under the cursor; the last one of a slot."""
        return self._hits[self.cursor] if self.cursor < len(self._hits) else None


def slot_lines(watch: WatchpointState, width: int, *, past: bool = False) -> list[Line]:
    """A slot: what it watches, its last hit, and what is to be said of its state; ``past`` when nothing is armed."""
    mark = "●" if watch.state == "armed" and not past else "○"
    word: str = watch.state
    role = _ROLES.get(watch.state, "dim")
    if past and word in ("armed", "pending", "polled"):
        word, role = f"was {word}", "dim"
    count = counted(watch.hits, "hit") + (f", {watch.untold} not shown" if watch.untold else "")
    left: Line = [(f"{watch.slot} ", "dim"), (f"{mark} {word} ", role)]
    room = width - len(word) - len(count) - 7
    flags = [text for text, wanted in (("once", watch.once), ("capture", watch.capture)) if wanted]
    name = clean(watch.expression) + (f" ({', '.join(flags)})" if flags else "")
    lines = [
        spread([*left, (cut(name, room), "")], [(count, "strong" if watch.hits else "dim")], width),
    ]
    if watch.hits:
        what = (
            change(watch.last_old, watch.last_value)
            if watch.last_arguments is None
            else words.call(watch.last_arguments)
        )
        text = what + by_whom(watch.last_writer, watch.last_vcpu)
        lines.append([(cut(f"    {text}", width), "dim")])
    if watch.detail:
        lines.append([(cut(f"    {clean(watch.detail)}", width), role)])
    return lines


class HitTable:
    """The columns of hits: when, slot, old → new value, who wrote, on which CPU.

    Every row has the same columns in the same order. Where they do not all fit, the old values go, from all rows, and
    then the end of long names.

    Args:
        hits: All hits that are shown.
        width: Cells of a row; 0 for as many as it takes.
        start_ns: Host time of the run's begin.
    """

    def __init__(self, hits: Sequence[Hit], width: int, start_ns: int) -> None:
        self._start_ns = start_ns
        self._width, self._room = width, width - _AT_WIDTH - 3
        self._old, self._new, self._who, self._cpu = (
            max((cell_len(part(hit)) for hit in hits), default=0) for part in (_old, _new, _writer, _cpu)
        )
        if width:
            if any(hit.arguments is not None for hit in hits):
                # What a function was called with may be long: who called it stays.
                self._new = min(self._new, max(8, self._room - self._cpu - min(self._who, _WHO_WIDTH) - 2))
            room = self._room - self._new - self._cpu - (1 if self._cpu else 0)
            if self._old and room < self._old + self._who + 2:
                self._old = 0
            self._who = max(0, min(self._who, room - 1 - (self._old + 1 if self._old else 0)))

    def line(self, hit: Hit) -> Line:
        """One hit."""
        at = fit(f"+{max(0, hit.mono_ns - self._start_ns) / 1e9:.1f}s", _AT_WIDTH, "right")
        cells: list[tuple[str, int, Align]] = [
            (_old(hit), self._old, "right"),
            (_new(hit), self._new, "left"),
            (_writer(hit), self._who, "left"),
            (_cpu(hit), self._cpu, "left"),
        ]
        row = " ".join(fit(text, wide, align) for text, wide, align in cells if wide)
        return [
            (f"{at} ", "dim"),
            (f"{hit.slot} ", "dim"),
            (cut(row, self._room) if self._width else row, ""),
        ]


def _old(hit: Hit) -> str:
    return "" if hit.old is None else f"{hit.old:#x} →"


def _new(hit: Hit) -> str:
    return change(None, hit.value) if hit.arguments is None else words.call(hit.arguments)


def _writer(hit: Hit) -> str:
    return "" if hit.writer is None else words.task(hit.writer.comm, hit.writer.pid)


def _cpu(hit: Hit) -> str:
    cpu = hit.vcpu if hit.writer is None else hit.writer.cpu
    return "" if cpu is None else f"cpu {cpu}"


def change(old: int | None, value: int | None) -> str:
    """``0x0 → 0x402``; without an old value only the new one."""
    now = "unreadable" if value is None else f"{value:#x}"
    return now if old is None else f"{old:#x} → {now}"


def by_whom(writer: RunningTask | None, vcpu: int | None) -> str:
    """Who wrote, as a phrase with a space before it."""
    if writer is not None:
        return f" {words.task(writer.comm, writer.pid)} cpu {writer.cpu}"
    return "" if vcpu is None else f" cpu {vcpu}"


class HitPage(DialogPage):
    """One hit: what was written, by whom, and from where.

    Args:
        hit: The hit.
        start_ns: Host time of the run's begin.
    """

    def __init__(self, hit: Hit, start_ns: int) -> None:
        super().__init__()
        self.title_text = "A write" if hit.arguments is None else "A call"
        self._hit = hit
        self._start_ns = start_ns

    def page(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        for name, value in hit_rows(self._hit, self._start_ns):
            parts += [(f"{name:<12}", "$quiet"), f"{value}\n"]
        parts.append(("\nKernel stack\n", "bold $primary"))
        if self._hit.stack is None:
            parts.append("  no stack: it was noticed at a stop made for another reason")
        else:
            parts += [f"{text_of(line)}\n" for line in stack_lines(self._hit.stack, _STACK_WIDTH)]
        return Content.assemble(*parts).rstrip()


def hit_rows(hit: Hit, start_ns: int) -> list[tuple[str, str]]:
    """A hit as ``(name, value)`` rows."""
    rows = [("slot", f"{hit.slot}  {clean(hit.expression)}")]
    if hit.arguments is None:
        rows.append(("wrote", change(hit.old, hit.value)))
    for it in hit.arguments or ():
        rows.append((clean(it.name), f"{clean(it.value)}  {clean(it.type)}"))
    by = "writer" if hit.arguments is None else "caller"
    if hit.value is not None and hit.old is not None:
        rows.append(("decimal", f"{hit.old} → {hit.value}"))
    if hit.writer is not None:
        task = words.task(hit.writer.comm, hit.writer.pid)
        rows.append((by, f"{task} ({clean(hit.writer.sched_class)}) on CPU {hit.writer.cpu}"))
    elif hit.vcpu is not None:
        rows.append((by, f"vCPU {hit.vcpu}"))
    rows.append(("at", f"+{max(0, hit.mono_ns - start_ns) / 1e9:.6f} s"))
    if hit.capture:
        rows.append(("capture", clean(hit.capture)))
    return rows
