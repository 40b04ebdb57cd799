"""Reads the trace of a running guest, piece by piece, and counts it.

Each look takes what has been written since the one before, up to the last event of any CPU at its begin: a later one
of one CPU might come before an earlier one of another that has not been read yet. What is newer waits for the next
look.

How exact is this? What was overwritten between two looks is counted as lost, and what rested on it is forgotten: who
runs on that CPU, and who waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.history.blocks import block_of, since
from ktstr_tui.history.counted import Counts
from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.torn import Attempts, Torn
from ktstr_tui.kernel.trace.decode import RECORD_BYTES, Decoder
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.kernel.trace.rings import Overrun, PageCopy, RingCopy
from ktstr_tui.model.rates import TaskRates
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.wire.trace_block import merge

MAX_PAGES = 4096
"""Of all CPUs at one look."""
MAX_COMMS = 65536
_PIDS = 1 << 22
"""Linux gives no pid from here on."""


class _Place:
    """How far one CPU's ring has been read."""

    __slots__ = ("at", "last_ns", "overrun", "page_ns")

    def __init__(self) -> None:
        self.page_ns = self.at = -1
        self.last_ns = 0
        self.overrun = Overrun(0, 0)


@dataclass(slots=True)
class _New:
    """What one look has found."""

    named: dict[int, tuple[int, str]] = field(default_factory=dict)
    """The newest comm of each task, with its time."""
    lost: dict[int, int] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    known_from_ns: int = 0

    @property
    def comms(self) -> dict[int, str]:
        """By pid."""
        return {pid: comm for pid, (_, comm) in self.named.items()}


class LiveTrace:
    """Follows a kernel's trace. One thread at a time.

    Args:
        reader: Of that kernel.
        space: Its memory.
        nr_cpus: How many CPUs it has.
        now: Reads the trace's clock, as near as it is known; without it the last event is now.
        clock: The run's, in nanoseconds.
    """

    def __init__(
        self,
        reader: TraceReader,
        space: AddressSpace,
        nr_cpus: int,
        now: Callable[[AddressSpace], int] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._reader, self._space, self._nr_cpus, self._now = reader, space, nr_cpus, now
        self._places = [_Place() for _ in range(nr_cpus)]
        self._counts = Counts(nr_cpus)
        self._comms: dict[int, str] = {}
        self._later = b""
        self._begun = False
        self._end_ns: int | None = None
        self._block: TraceBlock | None = None

    @property
    def block(self) -> TraceBlock | None:
        """What the newest look has read; None when it could not be read."""
        return self._block

    def look(self) -> TaskRates:
        """Read and count what is new; never raises for what the guest's memory holds."""
        start_ns, space, mono_ns = time.perf_counter_ns(), self._space.clone(), self._clock()
        self._block = None
        try:
            self._reader.clock(space)
            decoder = Attempts().run(lambda: self._reader.decoder(space))
        except (Torn, MemoryReadError) as problem:
            return TaskRates(unavailable=problem.message)
        last = [it for it in self._reader.last_ns(space) if it is not None]
        until_ns = max(last, default=0)
        new = _New()
        runs = [self._later, *(self._new_of(space, cpu, decoder, new) for cpu in range(self._nr_cpus))]
        events = merge(runs)
        count = len(events) // RECORD_BYTES
        taken = lib.ktt_until(ffi.from_buffer("struct ktt_event[]", events), count, until_ns) * RECORD_BYTES
        self._later, events = events[taken:], events[:taken]
        self._counts.add(events)
        if not self._begun:
            # A kernel that boots switches its events off and on again: a wakeup is seen, the switch is not.
            self._counts.forget_waits()
            self._begun = True
        self._comms.update(new.comms)
        rates = self._counts.finish(until_ns, self._comms, new.lost, kicks=decoder.knows("kick"))
        cpus = tuple(msgspec.structs.replace(it, unreadable=new.problems.get(it.cpu)) for it in rates.cpus)
        if len(self._comms) > MAX_COMMS:
            self._comms.clear()
        now_ns = max(until_ns, self._now(space) if self._now is not None else 0)
        self._block = self._pack(events, new, until_ns, now_ns, mono_ns)
        return msgspec.structs.replace(rates, cpus=cpus, read_us=(time.perf_counter_ns() - start_ns) / 1e3)

    def _pack(self, events: bytes, new: _New, until_ns: int, now_ns: int, mono_ns: int) -> TraceBlock:
        begin_ns = self._end_ns
        if begin_ns is None:
            begin_ns = min(new.known_from_ns, until_ns)
            events = since(events, begin_ns)
        self._end_ns = until_ns
        return block_of(
            events,
            begin_ns=begin_ns,
            end_ns=until_ns,
            now_ns=now_ns,
            mono_ns=mono_ns,
            comms=new.comms,
            lost=new.lost,
        )

    def _new_of(self, space: AddressSpace, cpu: int, decoder: Decoder, new: _New) -> bytes:
        """The events of a CPU that have not been read yet."""
        place, pages = self._places[cpu], max(4, MAX_PAGES // self._nr_cpus)
        try:
            ring = Attempts().run(
                lambda: self._reader.rings.copy(space, cpu, since_ns=place.last_ns, max_pages=pages)
            )
        except Torn as problem:
            new.problems[cpu] = problem.message
            self._counts.forget(cpu)
            return b""
        self._count_lost(ring, place, new.lost)
        new.known_from_ns = max(new.known_from_ns, ring.known_from_ns)
        counts, found = ffi.new("struct ktt_counts *"), list[tuple[bytes, PageCopy]]()
        for page in ring.pages:
            if page.time_ns < place.page_ns:
                continue
            after = place.at if page.time_ns == place.page_ns else -1
            records = decoder.records(page, cpu, counts, after)
            if records.data:
                found.append((records.data, page))
                place.page_ns, place.at, place.last_ns = page.time_ns, records.at, records.time_ns
        self._name(decoder, found, new)
        return b"".join(data for data, _ in found)

    def _name(self, decoder: Decoder, pages: list[tuple[bytes, PageCopy]], new: _New) -> None:
        """Note the comms of tasks in new pages of a CPU: of each task the one that it had last, on whichever CPU."""
        seen = ffi.new("uint8_t[]", _PIDS // 8)
        for data, page in reversed(pages):
            for pid, named in decoder.comms(data, page, seen, _PIDS).items():
                new.named[pid] = max(named, new.named.get(pid, named))

    def _count_lost(self, ring: RingCopy, place: _Place, lost: dict[int, int]) -> None:
        gone = 0
        if place.last_ns and ring.known_from_ns > place.last_ns:
            gone = ring.overrun.overwritten - place.overrun.overwritten
        if place.last_ns:
            gone += ring.overrun.dropped - place.overrun.dropped
        if gone > 0:
            lost[ring.cpu] = gone
            self._counts.forget(ring.cpu)
            self._counts.forget_waits()
        place.overrun = ring.overrun
