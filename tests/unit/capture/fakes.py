"""A machine that is not there: a stub and a view over the same three words of memory."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from ktstr_tui.guest.gdb import GdbClosedError, Stop
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport

ROOT_SLOT = 0xFFFF_FFFF_8000_1000
SCHED_A = 0xFFFF_8880_0000_2000
SCHED_B = 0xFFFF_8880_0000_4000
EXIT_OFFSET = 0x350


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
        self.exit_infos: dict[int, int] = {}
        self.names: dict[int, str] = {SCHED_A: "alpha", SCHED_B: "beta"}
        self.error: Exception | None = None

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

    def exit_info_kind(self, sch: int) -> int | None:
        return self.exit_infos.get(sch)

    def read_scheduler_name(self, sch: int) -> str | None:
        return self.names.get(sch)


class FakeGdb:
    """A stub that minds the rules: nothing but a stop while the guest runs."""

    def __init__(self, view: FakeView) -> None:
        self.view = view
        self.running = True
        self.watches: dict[int, int] = {}
        self.log: list[str] = []
        self.stops = 0
        self.stop_delay_s = 0.0
        self.register_delay_s = 0.0
        self.lost_hits = False
        """Whether watchpoints stop the guest without being told as such."""
        self.refuse_watches = False
        self.closed = False
        self._pending: deque[Stop] = deque()
        self._vcpus_asked: deque[int] = deque()
        self._arrived = trio.Event()

    # -- what the guest does

    def write_root(self, value: int | None, vcpu: int = 0) -> None:
        """The guest writes ``scx_root``."""
        self.view.root = value
        self._hit(ROOT_SLOT, vcpu)

    def write_exit(self, sched: int, value: int, vcpu: int = 0) -> None:
        """The guest writes ``exit_kind``, or tries to: only the first exit counts."""
        self.view.exit_kinds[sched] = self.view.exit_kinds[sched] or value
        self._hit(sched + EXIT_OFFSET, vcpu)

    def _hit(self, address: int, vcpu: int) -> None:
        if address in self.watches:
            self.arrive(
                Stop(5, vcpu, address, "watch") if not self.lost_hits else Stop(5, vcpu, None, "other")
            )

    def arrive(self, stop: Stop) -> None:
        """A stop reply comes in."""
        self._pending.append(stop)
        self._arrived.set()

    def die(self) -> None:
        """QEMU is gone."""
        self.closed = True
        self._arrived.set()

    # -- the stub

    async def wait_stop(self) -> Stop:
        assert self.running
        while not self._pending:
            if self.closed:
                raise GdbClosedError("QEMU is gone")
            self._arrived = trio.Event()
            await self._arrived.wait()
        self.running = False
        self.stops += 1
        return self._pending.popleft()

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        assert self.running
        self._vcpus_asked = deque(registers_of)
        self.log.append("stop")
        await trio.sleep(self.stop_delay_s)
        if self.closed:
            raise GdbClosedError("QEMU is gone")
        if not self._pending:
            self.arrive(Stop(2, 0, None, "interrupt"))
        return await self.wait_stop()

    async def resume(self) -> None:
        assert not self.running
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise GdbClosedError("QEMU is gone")
        self.log.append("resume")
        self.running = True

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        assert not self.running
        await trio.lowlevel.checkpoint()
        self._vcpus_asked = deque(vcpus)

    async def next_registers(self) -> Mapping[str, int]:
        assert not self.running
        await trio.sleep(self.register_delay_s)
        if self.closed:
            raise GdbClosedError("QEMU is gone")
        return {"rip": 0x1000 + self._vcpus_asked.popleft(), "stop": self.stops}

    async def insert_watch(self, address: int, length: int = 4) -> None:
        assert not self.running
        await trio.lowlevel.checkpoint()
        if self.refuse_watches:
            raise HostError("no debug register left")
        self.watches[address] = length

    async def remove_watch(self, address: int, length: int = 4) -> None:
        assert not self.running
        await trio.lowlevel.checkpoint()
        assert self.watches.pop(address) == length


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

    gdb: FakeGdb
    calls: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None
    render_error: Exception | None = None

    def __call__(
        self,
        view: FakeView,
        *,
        tag: str,
        trigger: Trigger,
        trigger_detail: str,
        mono_ns: int,
        step: str | None,
    ) -> FakeRaw:
        assert not self.gdb.running
        self.calls.append(
            {
                "tag": tag,
                "detail": trigger_detail,
                "step": step,
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
        )
        return FakeRaw(report, self.calls[-1], self.render_error)
