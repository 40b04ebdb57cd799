"""Reads the trace of a running guest, piece by piece, and counts it.

Each look takes what has been written since the one before, up to the last event of any CPU at its begin: a later one
of one CPU might come before an earlier one of another that has not been read yet. What is newer waits for the next
look.

How exact is this? What was overwritten between two looks is counted as lost, and what rested on it is forgotten: who
runs on that CPU, and who waits.
"""

from __future__ import annotations

import time
from operator import itemgetter

import msgspec

from ktstr_tui._native import ffi
from ktstr_tui.history.counted import Counts, Seen
from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.torn import Attempts, Torn
from ktstr_tui.kernel.trace.decode import Decoder
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.kernel.trace.rings import Overrun, RingCopy
from ktstr_tui.model.rates import TaskRates

MAX_PAGES = 4096
"""Of all CPUs at one look."""
MAX_COMMS = 65536


class _Place:
    """How far one CPU's ring has been read."""

    __slots__ = ("at", "last_ns", "overrun", "page_ns")

    def __init__(self) -> None:
        self.page_ns = self.at = -1
        self.last_ns = 0
        self.overrun = Overrun(0, 0)


class LiveTrace:
    """Follows a kernel's trace. One thread at a time.

    Args:
        reader: Of that kernel.
        space: Its memory.
        nr_cpus: How many CPUs it has.
    """

    def __init__(self, reader: TraceReader, space: AddressSpace, nr_cpus: int) -> None:
        self._reader, self._space, self._nr_cpus = reader, space, nr_cpus
        self._places = [_Place() for _ in range(nr_cpus)]
        self._counts = Counts(nr_cpus)
        self._comms: dict[int, str] = {}
        self._later: list[Seen] = []
        self._begun = False

    def look(self) -> TaskRates:
        """Read and count what is new; never raises for what the guest's memory holds."""
        start_ns, space = time.perf_counter_ns(), self._space.clone()
        try:
            self._reader.clock(space)
            decoder = Attempts().run(lambda: self._reader.decoder(space))
        except (Torn, MemoryReadError) as problem:
            return TaskRates(unavailable=problem.message)
        until_ns = max((it for it in self._reader.last_ns(space) if it is not None), default=0)
        lost, problems, fresh = dict[int, int](), dict[int, str](), set[int]()
        events = self._later
        for cpu in range(self._nr_cpus):
            try:
                events += self._new_of(space, cpu, decoder, lost, fresh)
            except Torn as problem:
                problems[cpu] = problem.message
                self._counts.forget(cpu)
        events.sort(key=itemgetter(0))
        self._later = [event for event in events if event.time_ns > until_ns]
        self._counts.add(events[: len(events) - len(self._later)])
        if not self._begun:
            # A kernel that boots switches its events off and on again: a wakeup is seen, the switch is not.
            self._counts.forget_waits()
            self._begun = True
        rates = self._counts.finish(until_ns, self._comms, lost, kicks=decoder.knows("kick"))
        cpus = tuple(msgspec.structs.replace(it, unreadable=problems.get(it.cpu)) for it in rates.cpus)
        if len(self._comms) > MAX_COMMS:
            self._comms.clear()
        return msgspec.structs.replace(rates, cpus=cpus, read_us=(time.perf_counter_ns() - start_ns) / 1e3)

    def _new_of(
        self, space: AddressSpace, cpu: int, decoder: Decoder, lost: dict[int, int], fresh: set[int]
    ) -> list[Seen]:
        """The events of a CPU that have not been read yet."""
        place, pages = self._places[cpu], max(4, MAX_PAGES // self._nr_cpus)
        ring = Attempts().run(
            lambda: self._reader.rings.copy(space, cpu, since_ns=place.last_ns, max_pages=pages)
        )
        self._count_lost(ring, place, lost)
        counts, found = ffi.new("struct ktt_counts *"), list[Seen]()
        for page in ring.pages:
            rows = decoder.rows(page, cpu, counts)
            if page.time_ns == place.page_ns:
                rows = [row for row in rows if row.at > place.at]
            elif page.time_ns < place.page_ns:
                continue
            for row in rows:
                found.append(Seen(row.time_ns, cpu, row.kind, row.pid, row.prev_pid, row.number, row.prio))
                if row.pid not in fresh:
                    comm = decoder.comm(row, page.data)
                    if comm is not None:
                        # Not every event of a task has its name.
                        fresh.add(row.pid)
                        self._comms[row.pid] = comm
            if rows:
                place.page_ns, place.at, place.last_ns = page.time_ns, rows[-1].at, rows[-1].time_ns
        return found

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
