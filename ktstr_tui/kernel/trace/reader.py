"""The whole trace of a kernel, at one look."""

from __future__ import annotations

import heapq
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

import msgspec

from ktstr_tui.kernel.address import MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Attempts, Torn
from ktstr_tui.kernel.trace.decode import DecodeCounts, Decoder
from ktstr_tui.kernel.trace.events import SOURCES, TraceEvent
from ktstr_tui.kernel.trace.formats import EventFormat, EventText, Formats
from ktstr_tui.kernel.trace.rings import Overrun, RingCopy, Rings

if TYPE_CHECKING:
    from collections.abc import Mapping


_NANOSECOND_CLOCKS = ("trace_clock_local", "trace_clock_global", "trace_clock", "ktime_get_mono_fast_ns",
                      "ktime_get_raw_fast_ns", "ktime_get_boot_fast_ns", "ktime_get_tai_fast_ns")  # fmt: skip


class CpuTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of one CPU's ring."""

    cpu: int
    events: tuple[TraceEvent, ...] = ()
    """Oldest first."""
    records: bytes = b""
    """The same as an array of ``struct ktt_event``."""
    overrun: Overrun = Overrun(0, 0)
    overtaken_pages: int = 0
    """Old pages that were overwritten while they were read."""
    known_from_ns: int = 0
    """From when on no event is missing, apart from dropped ones; 0 is the boot."""
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
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        space: Its memory; each look has translations of its own.
        nr_cpus: How many rings there may be.

    Raises:
        BtfError: This kernel has no trace events; the message says what is missing.
    """

    def __init__(self, btf: Btf, symbols: Symbols, space: AddressSpace, nr_cpus: int) -> None:
        self._symbols, self._space, self._nr_cpus = symbols, space, nr_cpus
        self.rings = Rings(btf, symbols)
        self._formats = Formats(btf, symbols)
        self._decoder: Decoder | None = None
        self._known: Mapping[int, EventFormat] = {}

    def clock(self, space: AddressSpace) -> str:
        """Return the kernel's name of the trace's clock.

        Raises:
            Torn: It does not count nanoseconds, or is none.
            MemoryReadError: A pointer led nowhere.
        """
        found = self._symbols.describe(self.rings.clock(space)) or "no function"
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

    def copy(self) -> tuple[list[RingCopy], list[EventText]]:
        """Copy the rings as they are, with the kernel's descriptions of the events in them.

        Raises:
            Torn: They make no sense, or changed at every try.
            MemoryReadError: A pointer led nowhere.
        """
        space, tries = self._space.clone(), Attempts()
        decoder = tries.run(lambda: self.decoder(space))
        rings = [tries.run(partial(self.rings.copy, space, cpu)) for cpu in range(self._nr_cpus)]
        types = {number for ring in rings for page in ring.pages for number in decoder.types(page, ring.cpu)}
        return rings, tries.run(lambda: self._formats.texts(space, types))

    def last_ns(self, space: AddressSpace) -> tuple[int | None, ...]:
        """Return the time of each CPU's last event; a word per CPU is read, so also while the guest is frozen."""
        return self.rings.last_ns(space, self._nr_cpus)

    def read(self, until_ns: tuple[int | None, ...] = (), *, since_ns: int = 0, max_pages: int = 0) -> Trace:
        """Read what the rings hold.

        Never raises for what the guest's memory holds: a ring that cannot be read says why.

        Args:
            until_ns: Per CPU, leave out what is later; nothing is left out without.
            since_ns: Leave out what is older, by pages.
            max_pages: Read at most so many pages of each CPU, the newest; 0 for all.
        """
        space, tries = self._space.clone(), Attempts()
        try:
            clock = self.clock(space)
            decoder = tries.run(lambda: self.decoder(space))
            recording = self.rings.is_recording(space)
        except (Torn, MemoryReadError) as problem:
            return Trace(unavailable=problem.message)
        limits, cpus = dict(enumerate(until_ns)), list[CpuTrace]()
        for cpu in range(self._nr_cpus):
            last_ns = limits.get(cpu)
            look = partial(self.rings.copy, space, cpu, since_ns=since_ns, max_pages=max_pages)
            try:
                ring = tries.run(look)
            except Torn as problem:
                cpus.append(CpuTrace(cpu=cpu, unavailable=problem.message))
            else:
                cpus.append(decode_ring(ring, decoder, MASK64 if last_ns is None else last_ns))
        names = tuple(sorted(it.name for it in self._known.values()))
        return Trace(cpus=tuple(cpus), names=names, clock=clock, recording=recording, retries=tries.retries)


def decode_ring(ring: RingCopy, decoder: Decoder, until_ns: int = MASK64) -> CpuTrace:
    """Make events of a copied ring.

    Args:
        ring: The copy.
        decoder: Of its kernel.
        until_ns: Leave out what is later.
    """
    counts, events, records = DecodeCounts(), list[TraceEvent](), list[bytes]()
    for page in ring.pages:
        if page.time_ns <= until_ns:
            more, data = decoder.decode(page, ring.cpu, counts, until_ns)
            events += more
            records.append(data)
    return CpuTrace(
        cpu=ring.cpu,
        events=tuple(events),
        records=b"".join(records),
        overrun=ring.overrun,
        overtaken_pages=ring.overtaken_pages,
        known_from_ns=ring.known_from_ns,
        counts=counts,
    )


def comms_of(trace: Trace) -> dict[int, str]:
    """Names of tasks by pid, as far as events name them."""
    found: dict[int, str] = {}
    for cpu in trace.cpus:
        for it in cpu.events:
            found |= {
                pid: comm for pid, comm in ((it.prev_pid, it.prev_comm), (it.pid, it.comm)) if pid and comm
            }
    return found


class Traced(Protocol):
    """A kernel whose trace can be read: `KernelView`."""

    @property
    def trace(self) -> TraceReader | str:
        """The reader, or why there is none."""


def read_trace(view: Traced, until_ns: tuple[int | None, ...] = ()) -> Trace:
    """Read a kernel's trace once; see `TraceReader.read`, and `Trace.unavailable` where the kernel has none."""
    reader = view.trace
    return Trace(unavailable=reader) if isinstance(reader, str) else reader.read(until_ns)
