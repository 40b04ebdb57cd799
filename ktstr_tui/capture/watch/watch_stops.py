"""Looks after the user's watches while the guest is stopped: compares values, follows pointers, pauses.

As with slot 0, a hit only means: look now. At *every* stop, whatever it was for, each armed watch's value is
compared with the one known before: a write whose hit was swallowed by another stop (two CPUs write at once, and
the engine reports one) is found, without its writer, instead of lost. And at every stop the pointers of each
expression are followed again, so that a watch stays with its expression and not with an address.

A watch may cost the guest too much in two ways, and is paused for either. It has a budget of hits in a second; and on
a busy host, where a single stop may take a tenth of one, few hits are enough to let the guest run hardly at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.watch.lent_slots import LentSlots
from ktstr_tui.capture.watch.watch_spec import CaptureHit, CopyWriter, RawHit, Watch
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.expressions import ExpressionError, NullPointer
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import HostError, KtstrError
from ktstr_tui.model.events import Event, WatchpointHit

_REMEMBERED = 16
SECOND_NS = 1_000_000_000
MAX_STOOD_NS = 300_000_000
"""How long of a second the hits of one watch may keep the guest stopped."""


@dataclass(slots=True)
class Counts:
    """What happened at stops; the names are those of `WatchesStatistics`."""

    hits: int = 0
    unchanged: int = 0
    swallowed: int = 0
    pauses: int = 0
    moves: int = 0
    refused: int = 0
    read_failures: int = 0
    captures_skipped: int = 0
    calls_untold: int = 0


class WatchStops:
    """Looks after armed watches. Everything here but `poll` and `drain` needs a stopped guest.

    Args:
        rendezvous: Reaches the engine.
        table: The watches.
        copy_writer: Copies who wrote.
        memory: The guest's memory, once it is readable by type.
        lent: Slots that sub-schedulers have while no user needs them.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        table: WatchTable,
        copy_writer: CopyWriter,
        memory: TypedMemory,
        lent: LentSlots,
    ) -> None:
        self.counts = Counts()
        self._left: deque[int] = deque(maxlen=_REMEMBERED)
        self._outbox: list[Event | RawHit] = []
        self._rendezvous = rendezvous
        self._table = table
        self._copy_writer = copy_writer
        self._memory = memory
        self._lent = lent
        self._clock = rendezvous.log.now_ns

    def poll(self) -> bool:
        """Whether a stop would change anything: a pointer moved, or what was NULL no longer is.

        Reads memory of the running guest, so the answer may be wrong; a stop finds out.
        """
        view = self._memory.view
        return view is not None and any(_moved(watch, view) for watch in self._table)

    def claims(self, stop: Stop) -> bool:
        """Whether a watch of the user's made that stop, one that is armed or was until a moment ago."""
        if stop.watch_address is None:
            return False
        return (
            stop.watch_address in {watch.address for watch in self._table} or stop.watch_address in self._left
        )

    async def look(self, stop: Stop, capture: CaptureHit) -> None:
        """Find out what was written, follow the pointers, arm what waited.

        Args:
            stop: Why the guest is stopped.
            capture: Captures it for a watch that wants that.
        """
        view = self._memory.view
        if view is None:
            return
        for watch in self._table:
            if watch.state == "armed":
                await self._compare(watch, view, stop, capture)
            await self._place(watch, view)
        self._table.release_failed()

    async def settle(self, watch: Watch) -> None:
        """Put a watch where its expression points now, if it has its slot still."""
        view = self._memory.view
        if view is not None and self._table.holds(watch):
            await self._place(watch, view)
            self._table.release_failed()

    def drain(self) -> list[Event]:
        """Return what happened while the guest was stopped; call it when it runs again."""
        outbox, self._outbox = self._outbox, []
        return [it.render() if isinstance(it, RawHit) else it for it in outbox]

    async def _place(self, watch: Watch, view: KernelView) -> None:
        if not watch.found or watch.state not in ("armed", "pending"):
            return
        try:
            address = watch.locate(view)
        except (NullPointer, MemoryReadError, ExpressionError) as problem:
            await self._wait_for(watch, problem.message)
            return
        if address == watch.address:
            return
        self.counts.moves += watch.address is not None
        await self.disarm(watch)
        await self._lent.vacate(watch.slot)
        try:
            await self._arm(watch, address)
        except KtstrError as error:
            self.counts.refused += 1
            self._outbox.append(watch.fail(error))
            return
        watch.address, watch.state = address, "armed"
        watch.detail = "" if watch.function is None else watch.function.note
        watch.value = watch.read(view)
        self._outbox.append(watch.changed())

    async def _arm(self, watch: Watch, address: int) -> None:
        if watch.function is None:
            await self._rendezvous.arm_watch(address, watch.spec.length_bytes)
            return

        def tell() -> bool:
            told = watch.tells(self._clock())
            self.counts.calls_untold += not told
            return told

        await self._rendezvous.arm_call(address, tell)

    async def disarm(self, watch: Watch) -> None:
        """Take a watch out of the stub."""
        address, watch.address = watch.address, None
        if address is not None:
            self._left.append(address)
            # What the stub does not have, it cannot hit either.
            with suppress(HostError):
                if watch.function is None:
                    await self._rendezvous.disarm_watch(address, watch.spec.length_bytes)
                else:
                    await self._rendezvous.disarm_call(address)

    async def _compare(self, watch: Watch, view: KernelView, stop: Stop, capture: CaptureHit) -> None:
        told = stop.watch_address is not None and stop.watch_address == watch.address
        old, value = watch.value, watch.read(view)
        watch.value = value
        if not told and (value == old or value is None or old is None):
            return
        counts, vcpu = self.counts, stop.vcpu if told else None
        counts.hits += 1
        counts.swallowed += not told
        counts.unchanged += value is not None and value == old
        counts.read_failures += value is None and watch.function is None
        mono_ns = self._clock()
        registers = {} if vcpu is None else await self._registers(vcpu)
        writer = None if vcpu is None else self._copy_writer(view, vcpu, registers)
        arguments = None if watch.function is None else watch.function.arguments(view, registers)
        tag = await capture(_words(watch, old, value, vcpu), watch.spec.tag) if watch.spec.capture else None
        counts.captures_skipped += watch.spec.capture and tag is None
        event = WatchpointHit(
            mono_ns=mono_ns,
            slot=watch.slot,
            expression=watch.spec.expression,
            vcpu=vcpu,
            value=value,
            old=old,
            capture=tag,
            arguments=arguments,
            untold=watch.untold,
        )
        watch.untold = 0
        self._outbox.append(RawHit(event, writer, view))
        await self._after_hit(watch)

    async def _registers(self, vcpu: int) -> Mapping[str, int]:
        try:
            return await self._rendezvous.registers_of(vcpu)
        except KtstrError:
            self.counts.read_failures += 1
            return {}

    async def _after_hit(self, watch: Watch) -> None:
        if watch.spec.once:
            await self.disarm(watch)
            self._outbox.append(self._table.drop(watch, "hit once, as asked"))
            return
        why = self._too_much(watch)
        if why is not None:
            self.counts.pauses += 1
            await self.disarm(watch)
            watch.state = "paused"
            watch.detail = f"{why}; resume it to continue"
            self._outbox.append(watch.changed())

    def _too_much(self, watch: Watch) -> str | None:
        """Why the watch costs the guest too much, if it does."""
        if watch.function is not None:
            return None
        now_ns, log = self._clock(), self._rendezvous.log
        if log.since_ns is not None:
            watch.stops_ns.append(log.since_ns)
        if not watch.budget.spend(now_ns):
            return f"more than {watch.spec.budget_per_s} hits in a second"
        stood_ns = log.stood_ns(set(watch.stops_ns), now_ns - SECOND_NS)
        if stood_ns > MAX_STOOD_NS:
            return f"its hits stopped the guest for {stood_ns / 1e6:.0f} ms of a second"
        return None

    async def _wait_for(self, watch: Watch, reason: str) -> None:
        await self.disarm(watch)
        if (watch.state, watch.detail) != ("pending", reason):
            watch.state, watch.detail = "pending", reason
            self._outbox.append(watch.changed())


def _moved(watch: Watch, view: KernelView) -> bool:
    if not watch.found or watch.state not in ("armed", "pending"):
        return False
    if watch.address is not None and not watch.moves:
        return False
    try:
        return watch.locate(view) != watch.address
    except MemoryReadError:
        return False
    except (NullPointer, ExpressionError):
        return watch.address is not None


def _words(watch: Watch, old: int | None, value: int | None, vcpu: int | None) -> str:
    """The detail of a hit's capture: what was written, and by whom."""
    if watch.function is not None:
        return f"{watch.function.name} was called" + ("" if vcpu is None else f", by vCPU {vcpu}")
    now = "unreadable" if value is None else f"{value:#x}"
    was = "" if old is None else f", was {old:#x}"
    who = "" if vcpu is None else f", by vCPU {vcpu}"
    return f"{watch.spec.expression} = {now}{was}{who}"
