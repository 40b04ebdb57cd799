"""A capture in two steps, because frozen time is precious.

``collect`` runs while the guest is frozen. It only copies: runqueues, tasks, queues, stack words, map
bytes, a few microseconds each. ``Copies.render`` runs after the thaw and turns the copies into a report:
unwinding, names, types, formatting. Two things cannot be copied at the stop and are read late, and the
report says so: the text of the exit info, which the kernel only writes after the write that stopped it, and
the kernel's log.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from ktstr_tui.capture.report.past import mark_stop
from ktstr_tui.capture.report.raw import (
    DMESG_LINES,
    RawCapture,
    RawCpu,
    RawDsq,
    RawScheduler,
    RawSub,
    RawTask,
    Registers,
)
from ktstr_tui.capture.report.render import render_capture
from ktstr_tui.capture.report.stacks import copy_stack
from ktstr_tui.capture.stop.rendezvous import collector_off
from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.displaced import displaced
from ktstr_tui.kernel.dsq import DsqRef, user_ref
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.sched_tree import sub_of
from ktstr_tui.kernel.scx import SchedState
from ktstr_tui.kernel.symbols import find_bpf
from ktstr_tui.kernel.tasks import Runnable
from ktstr_tui.kernel.torn import Torn
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport

MAX_TASKS = 256
MAX_DSQS = 1024
MAX_DSQ_MEMBERS = 4096
MAX_NAMED_CUTS = 3
"""Reasons that are named of one section that lacks something."""
MAX_MAPS_S = 0.02
"""Frozen time that copying maps may take."""
MAX_HELD_MAPS_S = 5.0
"""The same of a guest that does not notice."""


class Copies(RawCapture):
    """The copies, which know how to become a report."""

    def render(self, view: KernelView) -> CaptureReport:
        """The report. Call it after the thaw, promptly: what is read late changes from then on."""
        return render_capture(self, view, wait=not self.held)


def collect(
    view: KernelView,
    registers: Registers | None = None,
    *,
    tag: str,
    trigger: Trigger,
    trigger_detail: str = "",
    mono_ns: int = 0,
    wall_time: str = "",
    step: str | None = None,
    about: int | None = None,
    max_tasks: int = MAX_TASKS,
    dmesg_lines: int = DMESG_LINES,
    held: bool = False,
) -> Copies:
    """Copy the scheduler-related state of a frozen guest.

    Never raises for what the guest's memory holds: a section that cannot be read is named in ``unavailable``.

    Args:
        view: The kernel.
        registers: See `raw.RawCapture.add_registers`, which may also be called afterwards.
        tag: Name of the capture, unique in a run.
        trigger: Why it is taken.
        trigger_detail: More of that, for people.
        mono_ns: Host clock at the stop.
        wall_time: The same for people; now when empty.
        step: The scenario's step at the stop.
        about: Address of the sub-scheduler that the capture is about; None for the root scheduler.
        max_tasks: Most waiting tasks to copy, longest waiting first.
        dmesg_lines: Lines of the kernel's log to read after the thaw.
        held: Whether the guest does not notice how long it is stopped; then nothing depends on the host's speed.
    """
    raw = Copies(tag, trigger, trigger_detail, mono_ns, wall_time, step, about=about, dmesg_lines=dmesg_lines)
    raw.held = held
    with collector_off():
        _Collector(view, raw).run(max_tasks)
    if registers is not None:
        raw.add_registers(registers)
    raw.wall_time = wall_time or datetime.now(UTC).isoformat(timespec="milliseconds")
    return raw


def warm_up(view: KernelView) -> None:
    """Read once what `collect` is about to read, while the guest still runs, and throw it away.

    The memory and the tables on the way to it are then in this CPU's caches when the guest is frozen.
    """
    with suppress(Exception):  # the guest runs, so anything may be torn
        collect(view, tag="", trigger="on-demand")


class _Collector:
    """Fills one ``RawCapture``."""

    def __init__(self, view: KernelView, raw: RawCapture) -> None:
        self._view, self._raw = view, raw
        self._space: AddressSpace = view.fresh_space()
        self._pids: dict[int, int] = {}

    def run(self, max_tasks: int) -> None:
        self._section("scheduler", self._scheduler)
        self._section("subs", self._subs)
        self._section("runqueues", self._cpus)
        self._section("tasks", lambda: self._tasks(max_tasks))
        self._section("dsqs", self._dsqs)
        self._section("maps", self._maps)
        self._section("symbols", self._symbols)
        self._section("history", self._stop)
        self._raw.copy_stack = self._stack

    def _section(self, name: str, fill: Callable[[], None]) -> None:
        try:
            fill()
        except KtstrError as problem:
            self._raw.unavailable[name] = problem.message
        except (LookupError, ValueError, TypeError, OverflowError) as problem:
            self._raw.unavailable[name] = f"{type(problem).__name__}: {problem}"

    def _stop(self) -> None:
        self._raw.stop = mark_stop(self._view, self._space, self._raw)

    def _scheduler(self) -> None:
        raw, scx, space = self._raw, self._view.scx, self._space
        raw.jiffies = self._view.jiffies()
        if scx is None:
            raw.unavailable["scheduler"] = self._view.scx_missing or "this kernel has no sched_ext"
            return
        found = raw.scheduler = RawScheduler(scx.state(space), scx.enable_seq(space))
        raw.sched = scx.root(space)
        if raw.sched is not None:
            found.sched = scx.read(space, raw.sched)
            found.events = scx.events(space, found.sched)
            found.exit_text = scx.exit_text(space, raw.sched)

    def _subs(self) -> None:
        raw, scx, space = self._raw, self._view.scx, self._space
        if scx is None or raw.sched is None:
            return
        raw.tree = self._view.sched_tree.read(space, raw.sched, frozen=True)
        if raw.tree.cut:
            self._cut("subs", f"the first {len(raw.tree.found)} of the sub-schedulers")
        for sub in raw.tree.found:
            said = self._view.exit_info(sub.state.address) if sub.state.exit_kind else None
            raw.subs.append(
                RawSub(sub, said, self._events(sub.state) if sub.state.address == raw.about else None)
            )

    def _events(self, state: SchedState) -> dict[str, int] | None:
        assert self._view.scx is not None
        try:
            return self._view.scx.events(self._space, state)
        except MemoryReadError:
            return None

    def _cpus(self) -> None:
        online = self._view.cpus.online(self._space)
        for cpu in range(self._view.nr_cpus):
            one = RawCpu(cpu, online=bool(online >> cpu & 1))
            self._raw.cpus.append(one)
            try:
                self._one_cpu(one)
            except (MemoryReadError, Torn) as problem:
                one.unavailable = problem.message
                self._cut("tasks", f"the runqueue of CPU {cpu}: {problem.message}")
            if one.runnable_cut:
                self._cut("tasks", f"the runnable list of CPU {cpu} after {len(one.runnable)} tasks")

    def _cut(self, section: str, what: str) -> None:
        """Note what a section lacks; the first few are named, the others counted by an ellipsis."""
        known = self._raw.truncated.get(section)
        if known is None:
            self._raw.truncated[section] = what
        elif known.count("; ") + 1 < MAX_NAMED_CUTS:
            self._raw.truncated[section] = f"{known}; {what}"
        elif not known.endswith("…"):
            self._raw.truncated[section] = f"{known}; …"

    def _one_cpu(self, one: RawCpu) -> None:
        view, space = self._view, self._space
        one.rq = view.cpus.rq.read(space, view.cpus.rq_address(one.cpu))
        with suppress(MemoryReadError):  # absent is not "on"
            one.tick_stopped = view.cpus.tick_stopped(space, one.cpu)
        view.cpus.running(space, one.rq["curr"])
        one.curr = view.tasks.full.read(space, one.rq["curr"])
        if one.rq["curr"] != one.rq["idle"]:
            one.allowed = view.tasks.cpus_allowed(space, one.curr["cpus_ptr"])
        one.runnable, one.runnable_cut = view.tasks.runnable(space, one.cpu, frozen=True)
        with suppress(
            MemoryReadError
        ):  # the section of the queues reads the same list, and says what it lacks
            one.behind = displaced(view, space, one.cpu, one.curr)
        self._pids[one.rq["curr"]] = one.curr["pid"]
        self._pids.update((task.address, task.pid) for task in one.runnable)

    def _stack(self, one: RawCpu) -> None:
        if "rsp" not in one.registers or one.curr is None:
            return
        try:
            one.stack = copy_stack(
                self._space, one.registers["rsp"], one.curr["stack"], self._view.tasks.stack_bytes
            )
        except MemoryReadError as problem:
            one.unavailable = problem.message
            return
        self._source_lines(one)

    def _source_lines(self, one: RawCpu) -> None:
        """Note where the BPF programs on a CPU's stack are in their source: they may be freed after the thaw."""
        programs = self._raw.bpf_symbols
        if not programs:
            return
        rip = one.registers.get("rip", 0)
        words = one.stack.words_between(programs[0].start, programs[-1].end) if one.stack else []
        for address in (rip, *words):
            symbol = find_bpf(programs, address)
            if symbol is None or address in self._raw.bpf_lines:
                continue
            line = self._view.bpf_lines.find(self._space, symbol, address, exact=address == rip)
            if line is not None:
                self._raw.bpf_lines[address] = line

    def _tasks(self, max_tasks: int) -> None:
        raw, view = self._raw, self._view
        waiting = [
            (view.age_ms(task.runnable_at, raw.jiffies), task) for one in raw.cpus for task in one.runnable
        ]
        # Stable, so tasks of equal age stay in the order of their lists; what runs right now comes last.
        waiting.sort(key=lambda pair: (pair[1].on_cpu, -pair[0]))
        if len(waiting) > max_tasks:
            self._cut("tasks", f"the {max_tasks} that wait longest of {len(waiting)}")
        for age_ms, task in waiting[:max_tasks]:
            try:
                raw.tasks.append(self._one_task(task, age_ms))
            except MemoryReadError as problem:
                self._cut("tasks", f"pid {task.pid}: {problem.message}")

    def _one_task(self, task: Runnable, age_ms: float) -> RawTask:
        view, space = self._view, self._space
        row = view.tasks.full.read(space, task.address)
        label, number = self._queue(task.dsq)
        stack = None
        if not task.on_cpu and row["sp"]:
            try:
                stack = copy_stack(space, row["sp"], row["stack"], view.tasks.stack_bytes)
            except MemoryReadError as problem:
                # The rest of the task is worth as much without it.
                self._cut("stacks", f"pid {task.pid}: {problem.message}")
        allowed = view.tasks.cpus_allowed(space, row["cpus_ptr"])
        sub = sub_of(row["sched"], self._raw.sched, self._raw.tree.cgroups())
        return RawTask(task, row, allowed, age_ms, label, number, stack, sub)

    def _queue(self, dsq: int) -> tuple[str | None, int | None]:
        if self._view.scx is None:
            return None, None
        return self._view.dsqs.name(
            self._space, dsq, self._view.builtin_dsqs(self._raw.sched, self._raw.tree)
        )

    def _dsqs(self) -> None:
        raw, view, space = self._raw, self._view, self._space
        if view.scx is None:
            raw.unavailable["dsqs"] = view.scx_missing or "this kernel has no sched_ext"
            return
        builtin = view.builtin_dsqs(raw.sched, raw.tree)
        for sched in () if raw.sched is None else (raw.sched, *builtin.subs):
            cgroup = builtin.subs.get(sched)
            rows, cut = view.dsqs.user(space, sched, MAX_DSQS - len(raw.dsqs), frozen=True)
            for address, row in rows:
                self._one_dsq(user_ref(address, row, cgroup), row)
            if cut:
                self._cut("dsqs", f"the first {len(rows)} of the queues of {cgroup or 'the scheduler'}")
        for ref in (*builtin.local, *builtin.listed):
            try:
                row = view.dsqs.layout.read(space, ref.address)
            except MemoryReadError as problem:
                self._cut("dsqs", f"{ref.label}: {problem.message}")
            else:
                self._one_dsq(ref, row)

    def _one_dsq(self, ref: DsqRef, row: dict[str, Any]) -> None:
        pids, cut = list[int](), False
        try:
            members, cut = self._view.dsqs.members(self._space, ref.address, MAX_DSQ_MEMBERS)
            for address in members:
                if address not in self._pids:
                    self._pids[address] = self._view.tasks.pid(self._space, address)
                pids.append(self._pids[address])
        except (MemoryReadError, Torn):
            cut = True
        if cut:
            self._cut("dsqs", f"{ref.label} after {len(pids)} of {row['nr']} tasks")
        self._raw.dsqs.append(RawDsq(ref, row, pids, cut))

    def _maps(self) -> None:
        seconds = MAX_HELD_MAPS_S if self._raw.held else MAX_MAPS_S
        self._raw.maps, more = self._view.maps.copy(self._space, max_seconds=seconds)
        if more:
            self._raw.truncated["maps"] = f"the first {len(self._raw.maps)}"

    def _symbols(self) -> None:
        self._raw.bpf_symbols = self._view.bpf_symbols.read(self._space)
