"""The part of the user's watches that happens while the guest stands: comparing, moving, pausing.

As with slot 0, a hit only tells when to look. At *every* stop, whatever it was for, each armed watch's value is
compared with the one known before: a write whose hit was swallowed by another stop (two CPUs write at once, and
the stub tells of one) is found, without its writer, instead of lost. And at every stop the pointers of each
expression are followed anew, so that a watch stays with its expression and not with an address.

A watch may cost the guest too much in two ways, and is paused for either. It has a budget of hits in a second; and on
a busy host, where a single stop may take a tenth of one, few hits are enough to let the guest run hardly at all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.watch.watch_spec import CaptureHit, CopyWriter, RawHit, Watch, Writer
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.expressions import ExpressionError, NullPointer
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.errors import HostError, KtstrError
from ktstr_tui.model.events import Event, WatchpointHit

_REMEMBERED = 16
SECOND_NS = 1_000_000_000
MAX_STOOD_NS = 300_000_000
"""How long of a second the hits of one watch may make the guest stand."""


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


class WatchStops:
    """Looks after armed watches. Everything here wants a standing guest.

    Args:
        rendezvous: Reaches the stub.
        copy_writer: Copies who wrote.
        clock: Host monotonic clock, in nanoseconds.
        drop: Forgets a watch, for a reason; returns the event that says so.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        copy_writer: CopyWriter,
        clock: Callable[[], int],
        drop: Callable[[Watch, str], Event],
    ) -> None:
        self.counts = Counts()
        self.left: deque[int] = deque(maxlen=_REMEMBERED)
        """Addresses that were watched until recently; their last hits may still be on the way."""
        self.outbox: list[Event | RawHit] = []
        """What happened, to be told when the guest runs again."""
        self._rendezvous = rendezvous
        self._copy_writer = copy_writer
        self._clock = clock
        self._drop = drop

    async def look(self, watches: list[Watch], view: Any, stop: Stop, capture: CaptureHit) -> None:  # noqa: ANN401
        """Find out what was written, follow the pointers, arm what waited."""
        for watch in watches:
            if watch.state == "armed":
                await self._compare(watch, view, stop, capture)
            await self.settle(watch, view)

    async def settle(self, watch: Watch, view: Any) -> None:  # noqa: ANN401
        """Put a watch where its expression points now."""
        if watch.location is None or watch.state not in ("armed", "pending"):
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
        try:
            await self._rendezvous.arm_watch(address, watch.spec.length_bytes)
        except KtstrError as error:
            self.counts.refused += 1
            self.outbox.append(watch.fail(error))
            return
        watch.address, watch.state, watch.detail = address, "armed", ""
        watch.value = watch.read(view)
        self.outbox.append(watch.changed())

    async def disarm(self, watch: Watch) -> None:
        """Take a watch out of the stub."""
        address, watch.address = watch.address, None
        if address is not None:
            self.left.append(address)
            # What the stub does not have, it cannot hit either.
            with suppress(HostError):
                await self._rendezvous.disarm_watch(address, watch.spec.length_bytes)

    async def _compare(self, watch: Watch, view: Any, stop: Stop, capture: CaptureHit) -> None:  # noqa: ANN401
        told = stop.watch_address is not None and stop.watch_address == watch.address
        old, value = watch.value, watch.read(view)
        watch.value = value
        if not told and (value == old or value is None or old is None):
            return
        counts, vcpu = self.counts, stop.vcpu if told else None
        counts.hits += 1
        counts.swallowed += not told
        counts.unchanged += value is not None and value == old
        counts.read_failures += value is None
        mono_ns = self._clock()
        writer = None if vcpu is None else await self._writer(view, vcpu)
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
        )
        self.outbox.append(RawHit(event, writer, view))
        await self._after_hit(watch)

    async def _writer(self, view: Any, vcpu: int) -> Writer:  # noqa: ANN401
        registers: Mapping[str, int] = {}
        try:
            registers = await self._rendezvous.registers_of(vcpu)
        except KtstrError:
            self.counts.read_failures += 1
        return self._copy_writer(view, vcpu, registers)

    async def _after_hit(self, watch: Watch) -> None:
        if watch.spec.once:
            await self.disarm(watch)
            self.outbox.append(self._drop(watch, "hit once, as asked"))
            return
        why = self._too_much(watch)
        if why is not None:
            self.counts.pauses += 1
            await self.disarm(watch)
            watch.state = "paused"
            watch.detail = f"{why}; resume it to continue"
            self.outbox.append(watch.changed())

    def _too_much(self, watch: Watch) -> str | None:
        """Why the watch costs the guest too much, if it does."""
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
            self.outbox.append(watch.changed())


def _words(watch: Watch, old: int | None, value: int | None, vcpu: int | None) -> str:
    """The detail of a hit's capture: what was written, and by whom."""
    now = "unreadable" if value is None else f"{value:#x}"
    was = "" if old is None else f", was {old:#x}"
    who = "" if vcpu is None else f", by vCPU {vcpu}"
    return f"{watch.spec.expression} = {now}{was}{who}"
