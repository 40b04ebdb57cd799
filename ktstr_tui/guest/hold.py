"""The engine over the observer: the machine is held at an instruction and does not notice.

Nothing stops in QEMU's own sense: a callback of the plugin does not return, and with it the one thread of all vCPUs
stands. So there is no limit of slots, a hold costs the same for any number of vCPUs, and what the guest does afterwards
is what it would have done without.

Two hold the machine: whoever called `HoldEngine.stop` or was told of a hit, and the stations (see
`ktstr_tui.guest.stations`). It goes on when neither does any more. A stop that is asked for while the machine is at a
station is that station.

The emulator knows the arithmetic flags of the vCPU that holds only where a block of translated code begins, and works
them out when the monitor asks. A store is somewhere within one: there that vCPU has no ``eflags``.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import trio

from ktstr_tui.guest.engine import (
    EngineLostError,
    EngineStatistics,
    EngineTimeoutError,
    Registers,
    Stop,
    StopReason,
    WatchLimits,
)
from ktstr_tui.guest.held_counts import HeldCounts
from ktstr_tui.guest.held_stub import MAX_BREAKS, HeldStub, stepped_vcpu
from ktstr_tui.guest.monitor_registers import parse_registers
from ktstr_tui.guest.observer_page import MAX_PROBES, MAX_WATCHES, Held, HoldReason, ObserverPage
from ktstr_tui.guest.retracing import Place, Retracing, place_of
from ktstr_tui.guest.turns import whose_turn
from ktstr_tui.model.errors import HostError, InternalError

__all__ = ["HoldEngine"]

STOP_TIMEOUT_S = 10.0
MAX_CALLS = MAX_PROBES - MAX_BREAKS
_KERNEL_HALF = 1 << 63
"""Addresses from here on are the kernel's."""
_REASONS: dict[HoldReason, StopReason] = {
    HoldReason.STOP: "interrupt",
    HoldReason.WRITE: "watch",
    HoldReason.CALL: "watch",
}


class HoldEngine:
    """Holds one machine; `run` must run in some nursery.

    Args:
        page: Shared with the observer.
        link: The socket over which the machine's holds come.
        read_monitor: Returns what QEMU's monitor prints for ``info registers -a``.
        visit: Called at each station with the instructions executed; the machine is held until it returns.
        read_memory: Returns what QEMU's monitor prints for ``x /Nbx``, told the vCPU, the address and N.
        hear: Called at each other hold before anybody is told of it.
        lost: Called when QEMU is gone.
    """

    running: bool
    """Whether the guest runs, as far as its owner was told; it stands for a moment at each station."""

    def __init__(
        self,
        page: ObserverPage,
        link: trio.SocketStream,
        read_monitor: Callable[[], Awaitable[str]],
        visit: Callable[[int], Awaitable[None]],
        read_memory: Callable[[int, int, int], Awaitable[str]],
        hear: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        self.running = True
        self.watch_limits = WatchLimits(None, unlimited=True)
        self.held: Held | None = None
        """Where the machine is held; None while it runs."""
        self.counts: tuple[int, ...] = ()
        """Instructions that each vCPU has executed, at the hold that lasts or was the last."""
        self.at_count: Callable[[int], Awaitable[None]] | None = None
        """Called like ``visit`` when the instructions that `hold_at` was given have been executed."""
        self._page, self._link, self._read_monitor, self._visit = page, link, read_monitor, visit
        self._hear, self._on_lost = hear, lost
        self._arrived: Stop | None = None
        self._news = trio.Event()
        self._asked = self._in_station = self._lost = self._untold = False
        self._met: set[int] = set()
        self._watches: Counter[tuple[int, int]] = Counter()
        self._calls: dict[int, Callable[[], bool]] = {}
        self._vcpus_asked: deque[int] = deque()
        self._answers: dict[int, Registers] | None = None
        self._stub = HeldStub(self._registers_of, read_memory, self._tell_page)
        self.description = self._stub.description
        """The target description for debuggers: XML by the name of its document."""
        self.resume_as = "c"
        """What each resume does, as the actions of ``vCont``: a vCPU that steps is held before its next block."""
        self._at_counts = HeldCounts(page)
        self._retracing = Retracing(page, self._place, self._at_counts.stop_at)
        self._steps: int | None = None
        self._stops = self._watch_stops = 0
        self._last_stop_us: float | None = None
        self._max_stop_us: float | None = None

    async def run(self) -> None:
        """Take the holds of the machine until QEMU is gone."""
        try:
            while await self._link.receive_some(1):
                await self._take(self._page.held())
        except (trio.BrokenResourceError, trio.ClosedResourceError, EngineLostError):
            pass
        finally:
            self._lost = True
            self._on_lost()
            self._tell()

    async def wait_stop(self) -> Stop:
        """Wait until the guest is held for a hit or for a stop that was asked for; see `Engine.wait_stop`."""
        if not self.running:
            raise InternalError("wait_stop while the guest is stopped")
        await trio.lowlevel.checkpoint()
        while self._arrived is None:
            if self._lost:
                raise EngineLostError("QEMU is gone")
            await self._news.wait()
        return self._deliver(self._arrived)

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        """Hold the machine as soon as possible; see `Engine.stop`."""
        if not self.running:
            raise InternalError("stop while the guest is stopped")
        started_s = trio.current_time()
        self._asked = True
        if self._in_station and self._arrived is None and self.held is not None:
            self._arrive(self.held, "interrupt")
        elif self._arrived is None:
            self._page.ask_stop(True)
        with trio.move_on_after(STOP_TIMEOUT_S) as scope:
            stop = await self.wait_stop()
        if scope.cancelled_caught:
            raise EngineTimeoutError("the guest did not stop")
        self._vcpus_asked.extend(registers_of)
        self._last_stop_us = (trio.current_time() - started_s) * 1e6
        self._max_stop_us = max(self._max_stop_us or 0.0, self._last_stop_us)
        return stop

    async def resume(self) -> None:
        """Let the machine go on, unless it is at a station; see `Engine.resume`."""
        if self.running:
            raise InternalError("resume while the guest runs")
        if self._lost:
            raise EngineLostError("QEMU is gone")
        self._vcpus_asked.clear()
        self._answers = None
        self._stub.part()
        self._steps = stepped_vcpu(self.resume_as)
        self._page.hold_at_next(self._steps)
        self.running = True
        self._release()
        await trio.lowlevel.checkpoint()

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        """Remember whose registers are wanted; see `Engine.ask_registers`."""
        if self.running:
            raise InternalError("registers of a guest that runs")
        if self._lost:
            raise EngineLostError("QEMU is gone")
        self._answers = None
        self._vcpus_asked = deque(vcpus)
        await trio.lowlevel.checkpoint()

    async def next_registers(self) -> Registers:
        """Return the registers of the next vCPU that was asked for; see `Engine.next_registers`."""
        if not self._vcpus_asked:
            raise InternalError("unexpected registers")
        vcpu = self._vcpus_asked.popleft()
        held, own = self.held, self._page.registers()
        if held is not None and own is not None and held.reason is HoldReason.WRITE:
            own = msgspec.structs.replace(own, eflags=None)
            if vcpu == held.vcpu:
                return own
        if self._answers is None:
            answers = self._answers = parse_registers(await self._read_monitor())
            if held is not None and own is not None:
                # The emulator keeps some registers of the vCPU that holds where the monitor does not look.
                flags = None if own.eflags is None else answers[held.vcpu].eflags
                answers[held.vcpu] = msgspec.structs.replace(own, eflags=flags)
        if vcpu not in self._answers:
            raise InternalError(f"QEMU has no vCPU {vcpu}")
        return self._answers[vcpu]

    async def arm_watch(self, address: int, length: int = 4) -> None:
        """Hold the machine at stores into these bytes; see `Engine.arm_watch`. Any length will do."""
        self._check_stopped()
        if len(self._watches) >= MAX_WATCHES and (address, length) not in self._watches:
            raise HostError(f"{MAX_WATCHES} watches are armed already", "disarm some")
        if address < _KERNEL_HALF:
            raise HostError(
                f"{address:#x} is not in the kernel's memory: a run with a seed sees only stores there",
                "watch something of the kernel's",
            )
        self._watches[address, length] += 1
        self._tell_page()
        await trio.lowlevel.checkpoint()

    async def disarm_watch(self, address: int, length: int = 4) -> None:
        """Undo `arm_watch`; see `Engine.disarm_watch`."""
        self._check_stopped()
        if not self._watches[address, length]:
            del self._watches[address, length]
            raise HostError(f"there is no watch of {length} bytes at {address:#x}", "")
        self._watches[address, length] -= 1
        if not self._watches[address, length]:
            del self._watches[address, length]
        self._tell_page()
        await trio.lowlevel.checkpoint()

    async def arm_call(self, address: int, tell: Callable[[], bool]) -> None:
        """Hold the machine at calls of a function; see `Engine.arm_call`."""
        self._check_stopped()
        if len(self._calls) >= MAX_CALLS and address not in self._calls:
            raise HostError(f"calls of {MAX_CALLS} functions are watched already", "remove some watches")
        self._calls[address] = tell
        self._tell_page()
        await trio.lowlevel.checkpoint()

    async def disarm_call(self, address: int) -> None:
        """Undo `arm_call`; see `Engine.disarm_call`."""
        self._check_stopped()
        if self._calls.pop(address, None) is None:
            raise HostError(f"no calls are watched at {address:#x}", "")
        self._tell_page()
        await trio.lowlevel.checkpoint()

    async def ask(self, question: str) -> str:
        """Answer a request of gdb's protocol about the machine that is held; see `StubEngine.ask`."""
        self._check_stopped()
        answer = self._retracing.answer(question)
        return await self._stub.answer(question) if answer is None else answer

    def watch_besides(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Watch ranges beside those that were armed one by one, in place of those of the last call; a bench's.

        Args:
            ranges: First address and length in bytes of each. Nobody else must be told of their hits.
        """
        self._untold = False
        self._page.watch([*self._watches, *ranges], [*self._calls, *self._stub.breaks])

    def hold_at(self, instructions: int) -> None:
        """Have `at_count` called once, when so many instructions were executed, in place of those of the last call."""
        self._at_counts.visit_at(instructions)

    def hold_at_time(self, address: int, due: int, step: int) -> None:
        """Have a station when the guest's clock comes to an instant, and else at every ``step`` instructions.

        Args:
            address: Of the clock, which has 8 bytes.
            due: What it shows then.
            step: For a guest whose clock stands.
        """
        self._page.hold_at_time(address, due)
        self._page.set_step(step)

    def statistics(self) -> EngineStatistics:
        """Return the counts and times so far; stations do not count."""
        return EngineStatistics(
            stops=self._stops,
            watch_stops=self._watch_stops,
            last_stop_us=self._last_stop_us,
            max_stop_us=self._max_stop_us,
        )

    def drops(self) -> dict[str, int]:
        """Return the commands that the observer did not take."""
        return {"observer-refused": self._page.refused}

    async def _take(self, held: Held) -> None:
        if held.reason is HoldReason.TURN:
            await self._meet()
            return
        self.held, self.counts = held, held.counts
        if held.reason is HoldReason.CALL and not await self._is_wanted(held):
            self._release()
            return
        visit, stops = self._visit if held.reason is HoldReason.STEP else None, False
        if held.reason is HoldReason.COUNT:
            visits, stops = self._at_counts.take_due(held.total)
            visit = self.at_count if visits else None
            if visit is None and not stops:
                self._release()
                return
        if visit is None:
            await self._hear()
            self._arrive(held, _REASONS.get(held.reason, "other"))
            return
        self._in_station = True
        if self._arrived is None and (self._asked or stops or self._steps == held.vcpu):
            self._arrive(held, "interrupt" if self._asked else "other")
        try:
            await visit(held.total)
        finally:
            self._in_station = False
        self._release()

    async def _meet(self) -> None:
        """A vCPU executes for the first time: tell the observer which one it is, and no one else of that hold."""
        vcpu = whose_turn(self._page.registers(), parse_registers(await self._read_monitor()), self._met)
        self._met.add(vcpu)
        self._page.tell_turn(vcpu)
        self._go()

    def _arrive(self, held: Held, reason: StopReason) -> None:
        hit = self._watches_at(held) if reason == "watch" else []
        self._page.ask_stop(False)
        self._asked = False
        self._arrived = Stop(reason, held.vcpu, next(iter(hit), None), frozenset(hit[1:]))
        self._tell()

    async def _is_wanted(self, held: Held) -> bool:
        """Whether somebody is to be told of an execution: of a call, or of a debugger's breakpoint."""
        tell = self._calls.get(held.address)
        if held.address in self._stub.breaks:
            own = self._page.registers()
            await self._stub.meet(held.vcpu, held.address, None if own is None else own.rip)
            return True
        return tell is not None and tell()

    def _place(self) -> Place:
        held, own = self.held, self._page.registers()
        if held is None or own is None:
            raise InternalError("the place of a guest that runs")
        return place_of(held, own.rip)

    def _tell_page(self) -> None:
        # When the machine goes on: all of them are sorted then, once for however many were armed one by one.
        self._untold = True

    async def _registers_of(self, vcpu: int) -> Registers:
        await self.ask_registers([vcpu])
        return await self.next_registers()

    def _watches_at(self, held: Held) -> list[int]:
        if held.reason is HoldReason.CALL:
            return [held.address]
        last = held.address + held.width - 1
        hit = {
            address
            for address, length in self._watches
            if address <= last and held.address < address + length
        }
        return sorted(hit)

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def _deliver(self, stop: Stop) -> Stop:
        self._arrived = None
        self._asked = False
        self.running = False
        self._stops += 1
        self._watch_stops += stop.reason == "watch"
        return stop

    def _release(self) -> None:
        if self._in_station or self._arrived is not None or not self.running or self.held is None:
            return
        self.held = None
        self._go()

    def _go(self) -> None:
        if self._untold:
            self._untold = False
            self._page.watch(self._watches, [*self._calls, *self._stub.breaks])
        # At once: the next hold may come before a task that waits for its own byte is asked again.
        try:
            os.write(self._link.socket.fileno(), b"g")
        except OSError:
            self._lost = True

    def _check_stopped(self) -> None:
        if self.running:
            raise InternalError("a watch of a guest that runs")
