"""Finds the pages of the ring buffers and copies them, from a kernel that may be writing to them.

Mirrors kernel/trace/ring_buffer.c. ``struct ring_buffer_per_cpu`` has a ring of ``struct buffer_page``, linked
through ``list.next``, and one page outside of it, ``reader_page``, whose events are older than all in the ring. Each
leads to a ``struct buffer_data_page``: the time at its begin, ``commit`` (how many bytes are valid, in the low 20
bits), the events.

The hard thing is which page is the oldest. ``head_page`` lags behind: the writer marks the head by flags in the two
low bits of the pointer that leads *to* it (``RB_PAGE_HEAD`` 1, ``RB_PAGE_UPDATE`` 2), and moves that mark before it
takes the page. From there the pages are in order up to ``commit_page``, the one written to.

How exact is this? A page that is not written to any more stays as it is until the writer has gone all round. So pages
are copied from the newest to the oldest, and the header of each is read before and after: when the writer overtakes the
reader, it takes away the oldest pages, what has been copied has no gap, and the rest is counted. The page that is being
written to only grows.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import msgspec

from ktstr_tui.kernel.address import MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.cpus import MAX_CPUS
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import PAGE_BYTES, MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn

_FLAGS = 3
_USED_MASK = (1 << 20) - 1
_MAX_ORDER = 7
"""Of a page of events: 512 KiB, far more than any kernel takes."""


class PageCopy(NamedTuple):
    """One page of events."""

    time_ns: int
    """At its begin."""
    data: bytes
    """The events, without the page's header."""
    skip: int = 0
    """Bytes at the begin that somebody in the guest has read, and so consumed."""


class Overrun(NamedTuple):
    """What a CPU's ring has lost so far, as the kernel counts it."""

    overwritten: int
    """Events that newer ones took the place of."""
    dropped: int
    """Events for which there was no place when they came."""


class RingCopy(msgspec.Struct, frozen=True, kw_only=True):
    """What was copied of one CPU's ring, oldest page first."""

    cpu: int
    pages: tuple[PageCopy, ...] = ()
    overrun: Overrun = Overrun(0, 0)
    overtaken_pages: int = 0
    """Old pages that the writer took while they were read."""
    known_from_ns: int = 0
    """From when on no event is missing, apart from dropped ones."""


class Rings:
    """Reads the rings of the kernel's own trace, ``global_trace``.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.

    Raises:
        BtfError: This kernel has none.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        found = symbols.find("global_trace")
        if found is None:
            raise BtfError("this kernel has no trace buffer (CONFIG_TRACING)")
        self._trace = found
        self._array = Layout(
            btf, "trace_array", {"buffer": "array_buffer.buffer", "disabled": "buffer_disabled"}
        )
        self._buffer = Layout(
            btf,
            "trace_buffer",
            {
                "clock": "clock", "buffers": "buffers", "order": "subbuf_order",
                "disabled": "record_disabled.counter",
            },
        )  # fmt: skip
        self._ring = Layout(
            btf,
            "ring_buffer_per_cpu",
            {
                "cpu": "cpu", "nr_pages": "nr_pages", "head": "head_page", "commit": "commit_page",
                "reader": "reader_page", "overrun": "overrun.a.counter", "dropped": "dropped_events.a.counter",
                "commit_overrun": "commit_overrun.a.counter",
            },
        )  # fmt: skip
        self._stamp = self._ring.offset("write_stamp")
        self._page = Layout(btf, "buffer_page", {"read": "read", "page": "page"})
        self._link, self._next = self._page.offset("list"), self._page.offset("list.next")
        self._data = Layout(btf, "buffer_data_page", {"time": "time_stamp", "commit": "commit.a.counter"})
        self._body = self._data.offset("data")

    def clock(self, space: AddressSpace) -> int:
        """Return the address of the function that is the trace's clock; raises ``MemoryReadError``."""
        return int(self._buffer_row(space)["clock"])

    def is_recording(self, space: AddressSpace) -> bool:
        """Whether events are written at all; raises ``MemoryReadError``."""
        return not self._buffer_row(space)["disabled"]

    def _buffer_row(self, space: AddressSpace) -> dict[str, Any]:
        return self._buffer.read(space, self._array.read(space, self._trace)["buffer"])

    def last_ns(self, space: AddressSpace, cpus: int) -> tuple[int | None, ...]:
        """Return when each CPU began to write its last event, with as few reads as can be: the guest may be frozen.

        None where a CPU has no ring, or it cannot be read.
        """
        try:
            table = space.read(self._buffer_row(space)["buffers"], 8 * cpus)
        except MemoryReadError:
            return (None,) * cpus
        return tuple(self._last(space, at) for at in struct.unpack(f"<{cpus}Q", table))

    def _last(self, space: AddressSpace, ring: int) -> int | None:
        try:
            return space.u64(ring + self._stamp) if ring else None
        except MemoryReadError:
            return None

    def overrun(self, space: AddressSpace, cpu: int) -> Overrun:
        """Return what a CPU has lost so far; raises ``MemoryReadError``."""
        ring = self._ring_row(space, cpu)
        return Overrun(0, 0) if ring is None else _overrun(ring)

    def _ring_row(self, space: AddressSpace, cpu: int) -> dict[str, Any] | None:
        assert 0 <= cpu < MAX_CPUS
        at = space.u64(self._buffer_row(space)["buffers"] + 8 * cpu)
        return self._ring.read(space, at) if at else None

    def copy(self, space: AddressSpace, cpu: int, *, since_ns: int = 0, max_pages: int = 0) -> RingCopy:
        """Copy a CPU's ring.

        Args:
            space: The memory.
            cpu: Whose.
            since_ns: Copy no page whose events are all older.
            max_pages: Copy at most so many pages; 0 for all.

        Raises:
            Torn: The ring makes no sense, or was changed by a reader in the guest meanwhile.
            MemoryReadError: A pointer led nowhere.
        """
        ring = self._ring_row(space, cpu)
        if ring is None:
            return RingCopy(cpu=cpu)
        limit = (PAGE_BYTES << min(self._buffer_row(space)["order"] or 0, _MAX_ORDER)) - self._body
        order = self._pages(space, ring)
        copied, oldest_ns, read, overtaken = list[PageCopy](), MASK64, 0, 0
        for at in reversed(order):
            page = self._copy_page(space, self._page.read(space, at), limit, growing=not read)
            if page is None or (page.data and page.time_ns > oldest_ns):
                overtaken = len(order) - read
                break
            read += 1
            if page.data:
                # The time of a page that holds nothing yet is that of its life before.
                oldest_ns = page.time_ns
                copied.append(page)
            if oldest_ns <= since_ns or len(copied) == max_pages > 0:
                break
        # Without an event that was overwritten or consumed, the ring holds all since the boot.
        whole = read == len(order) and not ring["overrun"] and not any(page.skip for page in copied[-1:])
        return RingCopy(
            cpu=cpu,
            pages=tuple(reversed(copied)),
            overrun=_overrun(ring),
            overtaken_pages=overtaken,
            known_from_ns=0 if whole else oldest_ns,
        )

    def _pages(self, space: AddressSpace, ring: dict[str, Any]) -> list[int]:
        """The ``struct buffer_page`` that hold events, oldest first. Of each only the pointer to the next is read."""
        limit = space.memory.end // PAGE_BYTES
        if not 0 < ring["nr_pages"] <= limit:
            raise Torn(f"a trace ring of {ring['nr_pages']} pages")
        if ring["reader"] == ring["commit"]:
            return [ring["reader"]]
        at, found = self._head(space, ring), [int(ring["reader"])]
        for _ in range(ring["nr_pages"] + 1):
            found.append(at)
            if at == ring["commit"]:
                return found
            at = (space.u64(at + self._next) & ~_FLAGS) - self._link
        raise Torn("the page that is written to is not in the trace ring")

    def _head(self, space: AddressSpace, ring: dict[str, Any]) -> int:
        """The oldest page: the one that a pointer with flags leads to."""
        at = int(ring["head"])
        for _ in range(ring["nr_pages"] + 1):
            following = space.u64(at + self._next)
            at = (following & ~_FLAGS) - self._link
            if following & _FLAGS:
                return at
        raise Torn("no page of the trace ring is its head")

    def _copy_page(
        self, space: AddressSpace, row: dict[str, Any], limit: int, *, growing: bool
    ) -> PageCopy | None:
        """Copy one page; None when it was taken for new events meanwhile."""
        before = self._data.read(space, row["page"])
        used = before["commit"] & _USED_MASK
        if used > limit:
            raise Torn(f"a page of the trace ring with {used} bytes")
        data = space.read(row["page"] + self._body, used)
        after = self._data.read(space, row["page"])
        grown = (after["commit"] & _USED_MASK) - used
        if after["time"] != before["time"] or grown < 0 or (grown and not growing):
            if growing:
                raise Torn("the page of the trace ring that is written to was changed")
            return None
        return PageCopy(before["time"], data, min(row["read"], used))


def _overrun(ring: dict[str, Any]) -> Overrun:
    return Overrun(ring["overrun"], ring["commit_overrun"] + ring["dropped"])
