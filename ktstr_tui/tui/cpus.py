"""The vCPU table: a row for every CPU, grouped by node and LLC when there are several."""

from __future__ import annotations

from dataclasses import dataclass

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.state import CpuState, RunState
from ktstr_tui.model.text import counted
from ktstr_tui.model.topology import Topology
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Align, Line, columns, fit, sparkline, text_of
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View

_Cell = tuple[str, str, int, Align]
_WHOLE = 170
"""Cells in which a row has every column."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Column widths for a pane's width."""

    curr: int
    flags: bool
    spark_nr: int
    spark_busy: int

    @classmethod
    def of(cls, width: int) -> _Layout:
        """Spend what the fixed columns leave: one sparkline, flags, the other sparkline, a wider task."""
        rest = width - 68
        flags = rest >= 26
        rest -= 8 if flags else 0
        if rest < 6:
            return cls(max(10, 20 + min(6, rest)), flags, 0, 0)
        if rest < 24:
            return cls(20, flags, 0, min(30, rest - 1))
        curr = min(24, 20 + (rest - 22) // 2)
        rest -= curr - 20 + 2
        return cls(curr, flags, min(60, rest // 2), min(60, rest - rest // 2))


@dataclass(frozen=True, slots=True)
class _Group:
    """A heading between CPUs."""

    label: str
    cpus: tuple[int, ...]


class CpuPane(LinePane):
    """What every CPU runs, how many wait on it, and whether its clock moves."""

    label = "vCPUs"
    number = "1"
    row_word = "vCPU"
    opens = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._items: list[int | _Group] = []
        self._state = RunState()
        self._stalled: set[int] = set()
        self._waited_on: int | None = None
        self._peak = 1
        self._past = ""
        """Why nothing of this is so now; empty while it is."""

    def load(self, view: View, width: int) -> int:
        self._state = view.state
        self._past = view.past
        self._stalled = {
            it.cpu for it in view.state.alerts.values() if it.cpu is not None and it.kind == "stall"
        }
        self._waited_on = _waited_on(view.state)
        self._items = _items(view.state)
        if self.filter:
            self._items = [it for it in self._items if isinstance(it, int) and self.keeps(self._text(it))]
        histories = (cpu.nr_running_history[-60:] for cpu in view.state.cpus.values())
        self._peak = max((count for history in histories for count in history if count), default=1)
        return len(self._items)

    def empty(self, view: View) -> str:
        if view.over:
            return "No sample was taken."
        if view.state.phase == "booting":
            return "The guest is booting; its CPUs appear here once the kernel's BTF is loaded."
        return "No sample yet."

    def caption(self, view: View) -> str:
        state = view.state
        if not state.samples:
            return ""
        torn = f" · {state.torn} torn" if state.torn else ""
        return f"{counted(state.samples, 'sample')} · {words.microseconds(state.read_us)} each{torn}"

    def heading(self, width: int) -> Line | None:
        if not self._items:
            return None
        it = _Layout.of(width)
        names: list[tuple[str, int, Align]] = [
            ("cpu", 3, "right"), ("state", 7, "left"), ("curr", it.curr, "left"), ("class", 5, "left"),
            ("nr_run", 6, "right"), ("scx", 3, "right"), ("local", 5, "right"),
        ]  # fmt: skip
        if it.flags:
            names.append(("flags", 7, "right"))
        if it.spark_nr:
            names.append(("nr_running", it.spark_nr, "left"))
        names += [("busy", 5, "right"), ("clock", 6, "right")]
        if it.spark_busy:
            names.append(("vCPU busy", it.spark_busy, "left"))
        return columns((name, "head", width, align) for name, width, align in names)

    def row(self, index: int, width: int) -> Line:
        item = self._items[index]
        if isinstance(item, _Group):
            line = _group_line(item, self._state, width)
        else:
            line = self._cpu_line(item, _Layout.of(width or 100))
        return self.tone(line)

    def _cpu_line(self, number: int, it: _Layout) -> Line:
        cpu = self._state.cpus[number]
        latest = cpu.latest
        doubt = "dim" if latest.unreadable else ""
        state, role = self._state_word(cpu)
        busy = cpu.busy_history[-1] if cpu.busy_history else None
        age = words.clock_age_ms(latest, self._state.guest_ns)
        cells: list[_Cell] = [
            (str(number), "strong", 3, "right"),
            (state, role, 7, "left"),
            (
                words.task(latest.curr_comm, latest.curr_pid),
                doubt or ("dim" if latest.idle else ""),
                it.curr,
                "left",
            ),
            (latest.curr_class or ABSENT, words.CLASS_ROLES.get(latest.curr_class or "", "dim"), 5, "left"),
            (words.number(latest.nr_running), doubt or _load_role(latest.nr_running), 6, "right"),
            (words.number(latest.scx_nr_running), doubt or _load_role(latest.scx_nr_running), 3, "right"),
            (words.number(latest.local_dsq_nr), doubt or _load_role(latest.local_dsq_nr), 5, "right"),
        ]
        if it.flags:
            cells.append((words.hexadecimal(latest.scx_flags), "dim", 7, "right"))
        if it.spark_nr:
            cells.append(
                (sparkline(cpu.nr_running_history, it.spark_nr, self._peak), "spark", it.spark_nr, "left")
            )
        cells += [
            (ABSENT if busy is None else f"{busy * 100:.0f}%", doubt, 5, "right"),
            (words.milliseconds(age).replace(" ", ""), _age_role(age, latest.idle), 6, "right"),
        ]
        if it.spark_busy:
            cells.append((sparkline(cpu.busy_history, it.spark_busy, 1.0), "spark", it.spark_busy, "left"))
        return columns(cells)

    def _state_word(self, cpu: CpuState) -> tuple[str, str]:
        latest = cpu.latest
        if latest.cpu in self._stalled:
            return "■ STALL", "bad"
        if latest.cpu == self._waited_on:
            return "▲ queue", "warn"
        if latest.is_offline:
            return "offline", "dim"
        if latest.unreadable:
            return ("? torn" if latest.unreadable.startswith("torn") else "? n/a"), "warn"
        if latest.idle is None:
            return "? n/a", "warn"
        if self._past:
            return f"○ {self._past}", "dim"
        if self._state.frozen is not None:
            return "frozen", "info"
        return ("○ idle", "dim") if latest.idle else ("● run", "ok")

    def _text(self, number: int) -> str:
        return text_of(self._cpu_line(number, _Layout.of(_WHOLE)))

    def chosen(self) -> int | None:
        """The number of the CPU under the cursor."""
        item = self._items[self.cursor] if self.cursor < len(self._items) else None
        return item if isinstance(item, int) else None

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        return found if self.chosen() is None else {**found, "row.open": "Details"}

    def row_of(self, number: int) -> int | None:
        """The row of a CPU."""
        return self._items.index(number) if number in self._items else None

    def row_text(self) -> str:
        item = self._items[self.cursor] if self._items else None
        if isinstance(item, int):
            why = self._state.cpus[item].latest.unreadable
            return super().row_text() + (f"  {why}" if why else "")
        return super().row_text()


def _waited_on(state: RunState) -> int | None:
    """The CPU on whose runqueue a task has waited for more than half of the watchdog timeout."""
    scheduler = state.scheduler
    if scheduler is None or scheduler.oldest_runnable is None or not scheduler.oldest_timeout_ms:
        return None
    oldest = scheduler.oldest_runnable
    return oldest.cpu if oldest.age_ms >= scheduler.oldest_timeout_ms / 2 else None


def _load_role(count: int | None) -> str:
    return "dim" if not count else ""


def _age_role(age_ms: float | None, idle: bool | None) -> str:
    if age_ms is None or idle or age_ms < 100:
        return "dim"
    return "bad" if age_ms >= 1000 else "warn"


def _items(state: RunState) -> list[int | _Group]:
    numbers = sorted(state.cpus)
    try:
        topology = Topology.parse(state.info.topology) if state.info else Topology()
    except UsageError:
        return list(numbers)
    if topology.llcs < 2:
        return list(numbers)
    items: list[int | _Group] = []
    for llc in range(topology.llcs):
        members = tuple(number for number in numbers if topology.llc_of(number) == llc)
        if members:
            node = f"node {topology.node_of(members[0])} · " if topology.nodes > 1 else ""
            items += [_Group(f"{node}LLC {llc}", members), *members]
    return items


def _group_line(group: _Group, state: RunState, width: int) -> Line:
    latest = [state.cpus[number].latest for number in group.cpus]
    known = [it.nr_running for it in latest if it.nr_running is not None]
    busy = [cpu.busy_history[-1] for cpu in (state.cpus[n] for n in group.cpus) if cpu.busy_history]
    shares = [share for share in busy if share is not None]
    average = f"{sum(shares) / len(shares) * 100:.0f} %" if shares else ABSENT
    idle = sum(1 for it in latest if it.idle)
    text = (
        f"{group.label}  cpus {group.cpus[0]}-{group.cpus[-1]}  nr_running {sum(known) if known else ABSENT}"
        f"  idle {idle}  busy {average}"
    )
    return [(fit(f"── {text} ", max(width, 0)) if width else text, "head")]
