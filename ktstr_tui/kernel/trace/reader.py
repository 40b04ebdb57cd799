"""The whole trace of a kernel, at one look."""

from __future__ import annotations

import heapq
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from ktstr_tui.kernel.address import MASK64, AddressSpace
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.torn import Attempts, Torn
from ktstr_tui.kernel.trace.decode import DecodeCounts, Decoder
from ktstr_tui.kernel.trace.events import SOURCES, TraceEvent
from ktstr_tui.kernel.trace.formats import EventFormat, Formats
from ktstr_tui.kernel.trace.rings import Overrun, RingCopy, Rings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ktstr_tui.kernel.view import KernelView

_NANOSECOND_CLOCKS = ("trace_clock_local", "trace_clock_global", "trace_clock", "ktime_get_mono_fast_ns",
                      "ktime_get_raw_fast_ns", "ktime_get_boot_fast_ns", "ktime_get_tai_fast_ns")  # fmt: skip


class CpuTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one CPU's ring."""

    cpu: int
    events: tuple[TraceEvent, ...] = ()
    """Oldest first."""
    overrun: Overrun = Overrun(0, 0)
    overtaken_pages: int = 0
    """Old pages that were overwritten while they were read."""
    counts: DecodeCounts = msgspec.field(default_factory=DecodeCounts)
    unavailable: str | None = None
    """Why there are no events."""


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """The trace of a kernel."""

    cpus: tuple[CpuTrace, ...] = ()
    names: tuple[str, ...] = ()
    """Of the events that this kernel has, among those that are understood."""
    clock: str = ""
    """The kernel's name of the trace's clock."""
    recording: bool = False
    """Whether the kernel writes events at all."""
    retries: int = 0
    """Looks that were repeated because the kernel changed what was read."""
    unavailable: str | None = None
    """Why there is no trace."""

    def merged(self) -> list[TraceEvent]:
        """Return the events of all CPUs, oldest first."""
        return list(heapq.merge(*(it.events for it in self.cpus), key=attrgetter("time_ns")))


class TraceReader:
    """Reads a kernel's trace, at any time.

    Args:
        view: The kernel.

    Raises:
        BtfError: This kernel has no trace events; the message says what is missing.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view
        self.rings = Rings(view.btf, view.symbols)
        self._formats = Formats(view.btf, view.symbols)
        self._decoder: Decoder | None = None
        self._known: Mapping[int, EventFormat] = {}

    def clock(self, space: AddressSpace) -> str:
        """Return the kernel's name of the trace's clock.

        Raises:
            Torn: It does not count nanoseconds, or is none.
            MemoryReadError: A pointer led nowhere.
        """
        found = self._view.symbols.describe(self.rings.clock(space)) or "no function"
        name = found.partition("+")[0]
        if name not in _NANOSECOND_CLOCKS:
            raise Torn(f"the clock of the trace is {name}, which does not count nanoseconds")
        return name

    def decoder(self, space: AddressSpace) -> Decoder:
        """Return the decoder of this kernel's events, made at first use (10 ms for a stock kernel).

        Raises:
            Torn: The kernel's list of events is none.
            MemoryReadError: A pointer led nowhere.
        """
        if self._decoder is None:
            self._known = self._formats.names(space, SOURCES.keys())
            self._decoder = Decoder(self._known)
        return self._decoder

    def last_ns(self, space: AddressSpace) -> tuple[int | None, ...]:
        """Return the time of each CPU's last event; a few words per CPU are read, so also while the guest is frozen."""
        found = list[int | None]()
        for cpu in range(self._view.nr_cpus):
            try:
                found.append(self.rings.last_ns(space, cpu))
            except MemoryReadError:
                found.append(None)
        return tuple(found)

    def read(self, until_ns: tuple[int | None, ...] = ()) -> Trace:
        """Read all that the rings hold.

        Never raises for what the guest's memory holds: a ring that cannot be read says why.

        Args:
            until_ns: Per CPU, leave out what is later; nothing is left out without.
        """
        space, tries = self._view.fresh_space(), Attempts()
        try:
            clock = self.clock(space)
            decoder = tries.run(lambda: self.decoder(space))
            recording = self.rings.is_recording(space)
        except (Torn, MemoryReadError) as problem:
            return Trace(unavailable=problem.message)
        limits = dict(enumerate(until_ns))
        cpus = [self._cpu(space, cpu, decoder, tries, limits.get(cpu)) for cpu in range(self._view.nr_cpus)]
        names = tuple(sorted(it.name for it in self._known.values()))
        return Trace(cpus=tuple(cpus), names=names, clock=clock, recording=recording, retries=tries.retries)

    def _cpu(
        self, space: AddressSpace, cpu: int, decoder: Decoder, tries: Attempts, until_ns: int | None
    ) -> CpuTrace:
        try:
            ring = tries.run(lambda: self.rings.copy(space, cpu))
        except Torn as problem:
            return CpuTrace(cpu=cpu, unavailable=problem.message)
        return decode_ring(ring, decoder, MASK64 if until_ns is None else until_ns)


def decode_ring(ring: RingCopy, decoder: Decoder, until_ns: int = MASK64) -> CpuTrace:
    """Make events of a copied ring.

    Args:
        ring: The copy.
        decoder: Of its kernel.
        until_ns: Leave out what is later.
    """
    counts, events = DecodeCounts(), list[TraceEvent]()
    for page in ring.pages:
        if page.time_ns <= until_ns:
            events += decoder.decode(page, ring.cpu, counts, until_ns)
    return CpuTrace(
        cpu=ring.cpu,
        events=tuple(events),
        overrun=ring.overrun,
        overtaken_pages=ring.overtaken_pages,
        counts=counts,
    )


def read_trace(view: KernelView, until_ns: tuple[int | None, ...] = ()) -> Trace:
    """Read a kernel's trace once; see `TraceReader.read`, and `Trace.unavailable` where the kernel has none."""
    try:
        reader = TraceReader(view)
    except BtfError as problem:
        return Trace(unavailable=problem.message)
    return reader.read(until_ns)
