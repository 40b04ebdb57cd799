"""Pages of the ring to events.

The loop over a page's events is in C (``native/trace``; its header describes the format): it takes the time and up to
seven numbers out of each. Here the numbers get their names back, and the text is cut out.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.trace.events import SOURCES, Kind, Source, TraceEvent
from ktstr_tui.kernel.trace.formats import EventFormat, Field
from ktstr_tui.kernel.trace.rings import PageCopy

if TYPE_CHECKING:
    from ktstr_tui._native import CData

SLOTS: Final = ("pid", "prev_pid", "number", "to_cpu", "from_cpu", "prio", "by")
"""What the numbers of an event mean, in the order of the C structure."""
assert len(SLOTS) == lib.KTT_VALUES
_NUMBERS: Final = ("pid", "prev_pid", "number", "to_cpu", "from_cpu", "prio")
_BY: Final = "common_pid"
_LEAST_EVENT_BYTES: Final = 8
_COMMON: Final = Field(4, 4, True, False)
"""``struct trace_entry`` begins every event; its last member is the pid."""
RECORD: Final = struct.Struct("<QIIHHHH7q")
"""``struct ktt_event``."""
RECORD_BYTES: Final = RECORD.size
assert ffi.sizeof("struct ktt_event") == RECORD_BYTES
KINDS: Final = get_args(Kind)
_MAX_NAMES: Final = 65536
_KIND_NUMBERS: Final = {kind: number for number, kind in enumerate(KINDS, 1)}
"""Their places among the kinds, as blocks have them."""


class DecodeCounts(msgspec.Struct):
    """What pages held."""

    events: int = 0
    discarded: int = 0
    """That the kernel itself had thrown away, by a filter."""
    unknown: int = 0
    """Of types that are not among the formats; listed as ``other``."""
    damaged_bytes: int = 0
    """Behind an event that reaches outside its page."""
    cut: int = 0
    """Events without all of the members that their format has."""


class Records(NamedTuple):
    """Events of a page."""

    data: bytes
    """An array of ``struct ktt_event``."""
    at: int
    """Where the last of them begins."""
    time_ns: int
    """When it was."""


class _Room(threading.local):
    """Where the events of a page are put: a capture is rendered in one thread while another follows the trace."""

    def __init__(self) -> None:
        self.capacity = 0
        self.events: CData = ffi.NULL


class Decoder:
    """Makes events of pages; may be used by several threads.

    Args:
        formats: The formats of events by their type, with fields.
    """

    def __init__(self, formats: Mapping[int, EventFormat]) -> None:
        self._formats = dict(formats)
        self._sources = {it.id: SOURCES.get(it.name, Source("other")) for it in formats.values()}
        self._named = sum(
            {1 << _KIND_NUMBERS[it.kind] for it in self._sources.values() if it.comm is not None}
        )
        """A bit for each kind of event that has a comm."""
        self._wanted = {number: self._presence(it) for number, it in self._formats.items()}
        self._plans = ffi.new("struct ktt_plan[]", max(1, len(self._formats)))
        for plan, it in enumerate(self._formats.values()):
            self._fill(self._plans[plan], it)
        self._room = _Room()
        self._comms: dict[bytes, str] = {}

    def knows(self, kind: Kind) -> bool:
        """Whether the kernel has an event of this kind, which it then records."""
        return any(it.kind == kind for it in self._sources.values())

    def _field(self, it: EventFormat, slot: str) -> Field | None:
        if slot == "by":
            return (it.fields or {}).get(_BY, _COMMON)
        name = getattr(self._sources[it.id], slot)
        found = (it.fields or {}).get(name) if name else None
        return (
            found
            if found is not None and found.size in (1, 2, 4, 8) and 0 <= found.offset < 1 << 16
            else None
        )

    def _presence(self, it: EventFormat) -> tuple[bool, ...]:
        return tuple(self._field(it, slot) is not None for slot in _NUMBERS)

    def _fill(self, plan: Any, it: EventFormat) -> None:  # noqa: ANN401 - a C structure
        plan.type, plan.kind = it.id, _KIND_NUMBERS[self._sources[it.id].kind]
        for k, slot in enumerate(SLOTS):
            found = self._field(it, slot)
            if found is not None:
                member = plan.members[k]
                member.offset, member.size, member.is_signed = found.offset, found.size, found.signed

    def decode_raw(self, page: PageCopy, cpu: int, counts: CData) -> tuple[CData, int]:
        """Decode a page in C.

        Returns:
            An array of ``struct ktt_event``, overwritten by the next call in the same thread, and how many are in it.
        """
        room, needed = self._room, len(page.data) // _LEAST_EVENT_BYTES + 1
        if needed > room.capacity:
            room.events, room.capacity = ffi.new("struct ktt_event[]", needed), needed
        found = lib.ktt_decode(
            ffi.from_buffer(page.data), len(page.data), page.time_ns, cpu, self._plans, len(self._formats),
            room.events, room.capacity, counts,
        )  # fmt: skip
        return room.events, found

    def types(self, page: PageCopy, cpu: int) -> set[int]:
        """Return the types of the events of a page, known or not."""
        rows, found = self.decode_raw(page, cpu, ffi.new("struct ktt_counts *"))
        return {int(rows[k].type) for k in range(found)}

    def records(self, page: PageCopy, cpu: int, counts: CData, after: int = -1) -> Records:
        """Decode the events of a page that begin behind a place, for whoever reads very many.

        Args:
            page: The page.
            cpu: Whose it is.
            counts: Counted up.
            after: Where the last event began that is not wanted any more.
        """
        events, found = self.decode_raw(page, cpu, counts)
        first = lib.ktt_first(events, found, max(page.skip, after + 1))
        data = ffi.buffer(events, found * RECORD_BYTES)[first * RECORD_BYTES :] if found > first else b""
        if not data:
            return Records(b"", after, 0)
        last = events[found - 1]
        return Records(data, last.at, last.time_ns)

    def comms(self, data: bytes, page: PageCopy, seen: CData, pids: int) -> dict[int, tuple[int, str]]:
        """Return the comm of each task that events of a page name and that is not in ``seen`` yet.

        A task that executes another program has another comm from then on, so that of its last event counts.

        Args:
            data: An array of ``struct ktt_event``.
            page: The page that they are from.
            seen: A bit for each pid; set for those that are returned.
            pids: How many bits there are.

        Returns:
            By pid: the time of the event, and the comm.
        """
        count = len(data) // RECORD_BYTES
        events, places = ffi.from_buffer("struct ktt_event[]", data), ffi.new("uint32_t[]", max(1, count))
        found = dict[int, tuple[int, str]]()
        for at in range(lib.ktt_newest(events, count, self._named, seen, pids, places)):
            event = events[places[at]]
            it = self._formats[event.type]
            body = page.data[event.at : event.at + event.length]
            comm = self._text(it, self._sources[event.type].comm, body)
            if comm is not None:
                found[event.values[0]] = event.time_ns, comm
        return found

    def decode(
        self, page: PageCopy, cpu: int, counts: DecodeCounts, until_ns: int
    ) -> tuple[list[TraceEvent], bytes]:
        """Decode a page.

        Args:
            page: The page.
            cpu: Whose it is.
            counts: Counted up.
            until_ns: Leave out what is later.

        Returns:
            Its events, and the same as an array of ``struct ktt_event``.
        """
        raw = ffi.new("struct ktt_counts *")
        rows, found = self.decode_raw(page, cpu, raw)
        first = lib.ktt_first(rows, found, page.skip)
        last = max(first, lib.ktt_until(rows, found, until_ns))
        counts.events += last - first
        counts.cut += sum(rows[k].missing != 0 for k in range(first, last))
        counts.discarded += raw.discarded
        counts.unknown += raw.unplanned
        counts.damaged_bytes += raw.damaged
        data = (
            ffi.buffer(rows, found * RECORD_BYTES)[first * RECORD_BYTES : last * RECORD_BYTES]
            if found
            else b""
        )
        return [self._event(rows[k], page.data) for k in range(first, last)], data

    def _event(self, row: Any, data: bytes) -> TraceEvent:  # noqa: ANN401 - a C structure
        values, it = row.values, self._formats.get(row.type)
        if it is None:
            by = int.from_bytes(data[row.at + 4 : row.at + 8], "little", signed=True)
            return TraceEvent(time_ns=row.time_ns, cpu=row.cpu, kind="other", name=f"type {row.type}", by=by)
        source = self._sources[row.type]
        numbers = [
            values[k] if there and not row.missing >> k & 1 else None
            for k, there in enumerate(self._wanted[row.type])
        ]
        is_switch, body = source.kind == "switch", data[row.at : row.at + row.length]
        return TraceEvent(
            time_ns=row.time_ns,
            cpu=row.cpu,
            kind=source.kind,
            name=it.name,
            by=values[6],
            pid=numbers[0],
            prev_pid=numbers[1],
            prev_state=numbers[2] if is_switch else None,
            dsq_id=None if is_switch or numbers[2] is None else numbers[2] & (1 << 64) - 1,
            to_cpu=numbers[3],
            from_cpu=numbers[4],
            prio=numbers[5],
            comm=self._text(it, source.comm, body),
            prev_comm=self._text(it, source.prev_comm, body),
            text=self._text(it, source.text, body),
        )

    def _text(self, it: EventFormat, name: str | None, body: bytes) -> str | None:
        found = None if name is None or it.fields is None else it.fields.get(name)
        if found is None:
            return None
        start, end = found.offset, found.offset + found.size
        if found.dynamic:
            word = int.from_bytes(body[start:end], "little")
            start, end = word & 0xFFFF, (word & 0xFFFF) + (word >> 16)
        raw = body[start:end]
        known = self._comms.get(raw)
        if known is None:
            if len(self._comms) >= _MAX_NAMES:
                self._comms.clear()
            known = self._comms[raw] = text(raw)
        return known
