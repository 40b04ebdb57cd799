"""A machine that is not there: a stub and a view over the same three words of memory."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from ktstr_tui.capture.watch.leaving import NAME_RUNNING
from ktstr_tui.guest.engine import EngineLostError, EngineStatistics, Registers, Stop, WatchLimits
from ktstr_tui.kernel.sched_tree import NO_SUBS, Subs, SubSched
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.errors import HostError, InternalError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport, exit_kind_name

ROOT_SLOT = 0xFFFF_FFFF_8000_1000
SCHED_A = 0xFFFF_8880_0000_2000
SCHED_B = 0xFFFF_8880_0000_4000
EXIT_OFFSET = 0x350
LIST_SLOT = 0xFFFF_FFFF_8000_3008


def clock_ns() -> int:
    """Trio's mock clock as nanoseconds."""
    return round(trio.current_time() * 1e9)


class FakeView:
    """Kernel memory: ``scx_root`` and the ``exit_kind`` of some schedulers."""

    nr_cpus = 2
    release = "7.2.12-fake"

    def __init__(self) -> None:
        self.root: int | None = None
        self.exit_kinds: dict[int, int] = {SCHED_A: 0, SCHED_B: 0}
        self.exit_infos: dict[int, ExitText] = {}
        self.comm: str | None = NAME_RUNNING
        self.names: dict[int, str] = {SCHED_A: "alpha", SCHED_B: "beta"}
        self.error: Exception | None = None
        self.accepts_subs = False
        """Whether the loaded scheduler lets others attach below it."""
        self.below: list[SubSched] = []
        """Those that did."""

    def scx_root_slot(self) -> int:
        return ROOT_SLOT

    def scx_root(self) -> int | None:
        if self.error is not None:
            raise self.error
        return self.root

    def exit_kind_address(self, sch: int) -> int:
        return sch + EXIT_OFFSET

    def exit_kind(self, sch: int) -> int:
        return self.exit_kinds[sch]

    def exit_info(self, sch: int) -> ExitText | None:
        return self.exit_infos.get(sch)

    def exit_kind_name(self, kind: int) -> str:
        return exit_kind_name(kind)

    def init_comm(self) -> str | None:
        return self.comm

    def subs(self, root: int | None, *, frozen: bool) -> Subs:
        return NO_SUBS if root is None else Subs(tuple(self.below))

    def newest_sub_slot(self, root: int) -> int | None:
        return LIST_SLOT if self.accepts_subs else None

    def read_scheduler_name(self, sch: int) -> str | None:
        return self.names.get(sch)


class FakeEngine:
    """An engine over the words of a fake view; ``tests/contracts/engine.py`` holds it to the rules."""

    def __init__(self, view: FakeView) -> None:
        self.view = view
        self.running = True
        self.watch_limits = WatchLimits(slots=4)
        self.watches: dict[int, int] = {}
        self.calls: dict[int, Callable[[], bool]] = {}
        self.log: list[str] = []
        self.stops = self.watch_stops = 0
        self.stop_delay_s = 0.0
        self.register_delay_s = 0.0
        self.lost_hits = False
        """Whether watches stop the guest without being named as the reason."""
        self.refuse_watches = False
        self.closed = False
        self.resume_as = "c"
        self.description = {"target.xml": "<target/>"}
        self.asked: list[str] = []
        """Requests of gdb's protocol."""
        self.breaks: set[str] = set()
        """Breakpoints, and watchpoints other than for writes, as their requests name them."""
        self._pending: deque[Stop] = deque()
        self._vcpus_asked: deque[int] = deque()
        self._arrived = trio.Event()

    # -- what the guest does

    def write_root(self, value: int | None, vcpu: int = 0) -> None:
        """The guest writes ``scx_root``."""
        self.view.root = value
        self.hit(ROOT_SLOT, vcpu)

    def write_exit(self, sched: int, value: int, vcpu: int = 0) -> None:
        """The guest writes ``exit_kind``, or tries to: only the first exit counts."""
        self.view.exit_kinds[sched] = self.view.exit_kinds[sched] or value
        self.hit(sched + EXIT_OFFSET, vcpu)

    def hit(self, address: int, vcpu: int = 0) -> None:
        """The guest writes to an address, which stops it if it is watched."""
        if address in self.watches:
            self.arrive(Stop("other", vcpu) if self.lost_hits else Stop("watch", vcpu, address))

    def arrive(self, stop: Stop) -> None:
        """The guest stops by itself."""
        self._pending.append(stop)
        self._arrived.set()

    def die(self) -> None:
        """QEMU is gone."""
        self.closed = True
        self._arrived.set()

    # -- the engine

    async def wait_stop(self) -> Stop:
        self._must(running=True)
        while not self._pending:
            self._check_alive()
            self._arrived = trio.Event()
            await self._arrived.wait()
        self.running = False
        self.stops += 1
        stop = self._pending.popleft()
        self.watch_stops += stop.reason == "watch"
        return stop

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        self._must(running=True)
        self._vcpus_asked = deque(registers_of)
        self.log.append("stop")
        await trio.sleep(self.stop_delay_s)
        self._check_alive()
        if not self._pending:
            self.arrive(Stop("interrupt"))
        return await self.wait_stop()

    async def resume(self) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        self._check_alive()
        self.log.append("resume" if self.resume_as == "c" else f"resume {self.resume_as}")
        self._vcpus_asked.clear()
        self.running = True

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        self._check_alive()
        self._vcpus_asked = deque(vcpus)

    async def next_registers(self) -> Registers:
        if not self._vcpus_asked:
            raise InternalError("unexpected registers")
        await trio.sleep(self.register_delay_s)
        self._check_alive()
        vcpu = self._vcpus_asked.popleft()
        if vcpu >= self.view.nr_cpus:
            raise InternalError(f"there is no vCPU {vcpu}")
        return registers(rip=0x1000 + vcpu, rax=self.stops)

    async def arm_watch(self, address: int, length: int = 4) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        self._check_alive()
        if self.refuse_watches or len(self.watches) == self.watch_limits.slots:
            raise HostError("no debug register left")
        self.watches[address] = length

    async def disarm_watch(self, address: int, length: int = 4) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        self._check_alive()
        if self.watches.pop(address, None) != length:
            raise HostError(f"nothing is watched at {address:#x}")

    async def arm_call(self, address: int, tell: Callable[[], bool]) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        if not self.watch_limits.unlimited:
            raise HostError("calls cannot be watched")
        self.calls[address] = tell

    async def disarm_call(self, address: int) -> None:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        if self.calls.pop(address, None) is None:
            raise HostError(f"no calls are watched at {address:#x}")

    async def ask(self, question: str) -> str:
        self._must(running=False)
        await trio.lowlevel.checkpoint()
        self._check_alive()
        self.asked.append(question)
        place = question[1:]
        if question[:1] == "Z":
            self.breaks.add(place)
        elif question[:1] == "z":
            self.breaks.remove(place)
        return "OK" if question[:1] in "ZzHGPM" else "00" * 8

    def statistics(self) -> EngineStatistics:
        return EngineStatistics(stops=self.stops, watch_stops=self.watch_stops)

    def drops(self) -> dict[str, int]:
        return {}

    def _must(self, *, running: bool) -> None:
        if self.running is not running:
            raise InternalError(f"the guest {'runs' if self.running else 'is stopped'}")

    def _check_alive(self) -> None:
        if self.closed:
            raise EngineLostError("QEMU is gone")


def registers(**values: int) -> Registers:
    """Registers that are 0 but for those that are given."""
    return Registers(**(dict.fromkeys(Registers.__struct_fields__, 0) | values))


@dataclass
class FakeRaw:
    """A capture's raw state."""

    report: CaptureReport
    call: dict[str, Any]
    error: Exception | None = None

    def add_registers(self, registers: Sequence[Mapping[str, int]]) -> None:
        self.call["registers"] = list(registers)

    def render(self, view: object) -> CaptureReport:
        if self.error is not None:
            raise self.error
        return self.report


@dataclass
class FakeCollect:
    """Collects nothing but how it was called."""

    engine: FakeEngine
    calls: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    render_error: Exception | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Fields of every report."""

    def __call__(
        self,
        view: object,
        *,
        tag: str,
        trigger: Trigger,
        trigger_detail: str,
        mono_ns: int,
        step: str | None,
        about: int | None,
    ) -> FakeRaw:
        assert isinstance(view, FakeView)
        assert not self.engine.running
        self.calls.append(
            {
                "tag": tag,
                "detail": trigger_detail,
                "step": step,
                "about": about,
                "gc": gc.isenabled(),
            }
        )
        if self.error is not None:
            raise self.error
        report = CaptureReport(
            tag=tag,
            trigger=trigger,
            trigger_detail=trigger_detail,
            mono_ns=mono_ns,
            step=step,
            exit_kind=view.exit_kinds[view.root] if view.root else None,
            **self.more,
        )
        return FakeRaw(report, self.calls[-1], self.render_error)
