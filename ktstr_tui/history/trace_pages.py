"""Writes blocks of the trace as ``trace.dat``: pages of a ring buffer, with descriptions of their events of our own.

A live run has the kernel's pages; a block has only what `TraceRow` keeps. So the events have the kernel's names and
those members that are known, and nothing stands in for the others. How a page looks is said in ``native/trace``: the
time at its begin, and before each event a word of its length and the time that passed. Where events were lost, a page
begins, and says so in two upper bits of its length (``RB_MISSED_EVENTS``, ``RB_MISSED_STORED``;
kernel/trace/ring_buffer.c) and, if it is known, how many in the word behind its events.

The file begins with how many pages each CPU has, so they are kept in temporary files until all are known.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Final

from ktstr_tui.history.block_events import NAMED, comm_of
from ktstr_tui.history.trace_dat import MIN_PAGE_BYTES, file_begin
from ktstr_tui.kernel.trace.events import Kind
from ktstr_tui.kernel.trace.formats import COMMON_FIELDS, EventText
from ktstr_tui.model.events import Event, GuestRestarted, TraceRead
from ktstr_tui.model.topology import MAX_CPUS
from ktstr_tui.model.trace_block import TraceBlock, TraceRow
from ktstr_tui.wire.codec import CodecError
from ktstr_tui.wire.trace_block import unpack

_COMM: Final = "char", 16
_PID, _CPU, _WORD, _LONG = ("pid_t", 4), ("int", 4), ("u64", 8), ("long", 8)
_STATES: Final = (
    '(REC->prev_state & 0xff) ? __print_flags(REC->prev_state & 0xff, "|", { 0x01, "S" }, { 0x02, "D" }, '
    '{ 0x04, "T" }, { 0x08, "t" }, { 0x10, "X" }, { 0x20, "Z" }, { 0x40, "P" }, { 0x80, "I" }) : "R", '
    'REC->prev_state & 0x100 ? "+" : ""'
)
_Members = tuple[tuple[str, tuple[str, int]], ...]
_TASK: Final[_Members] = (("comm", _COMM), ("pid", _PID), ("prio", _CPU))
_WAKEUP: Final[tuple[_Members, str]] = (
    (*_TASK, ("target_cpu", _CPU)),
    '"comm=%s pid=%d prio=%d target_cpu=%03d", REC->comm, REC->pid, REC->prio, REC->target_cpu',
)
_QUEUED: Final[tuple[_Members, str]] = (
    (("pid", _PID), ("dsq", _WORD)),
    '"pid=%d dsq=0x%llx", REC->pid, REC->dsq',
)
_LAYOUTS: Final[dict[Kind, tuple[_Members, str]]] = {
    "switch": (
        (
            ("prev_comm", _COMM), ("prev_pid", _PID), ("prev_state", _LONG), ("next_comm", _COMM),
            ("next_pid", _PID), ("next_prio", _CPU),
        ),
        '"prev_comm=%s prev_pid=%d prev_state=%s%s ==> next_comm=%s next_pid=%d next_prio=%d", REC->prev_comm, '
        f"REC->prev_pid, {_STATES}, REC->next_comm, REC->next_pid, REC->next_prio",
    ),
    "wakeup": _WAKEUP,
    "waking": _WAKEUP,
    "new": _WAKEUP,
    "migrate": (
        (*_TASK, ("dest_cpu", _CPU)),
        '"comm=%s pid=%d prio=%d dest_cpu=%d", REC->comm, REC->pid, REC->prio, REC->dest_cpu',
    ),
    "exit": (_TASK, '"comm=%s pid=%d prio=%d", REC->comm, REC->pid, REC->prio'),
    "enqueue": ((("pid", _PID),), '"pid=%d", REC->pid'),
    "insert": _QUEUED,
    "remove": _QUEUED,
    "move": ((("pid", _PID), ("cpu", _CPU)), '"pid=%d cpu=%d", REC->pid, REC->cpu'),
    "kick": ((("cpu", _CPU),), '"cpu=%d", REC->cpu'),
    "bypass": ((("on", _WORD),), '"on=%llu", REC->on'),
}  # fmt: skip
"""The members of each event and how it is printed."""
assert _LAYOUTS.keys() == NAMED.keys()
_FIRST_ID: Final = 300
_IDS: Final = {kind: number for number, kind in enumerate(_LAYOUTS, _FIRST_ID)}
_COMMON_BYTES: Final = 8
_MAX_PAGE_DATA: Final = MIN_PAGE_BYTES - 16 - 8
"""Behind the events of a page there may be a word."""
_MASK27: Final = (1 << 27) - 1
_TIME_EXTEND: Final = 30
_MISSED, _MISSED_COUNTED = 1 << 31, 1 << 30
_IN_MEMORY_BYTES: Final = 1 << 20
_MAX_COMMS: Final = 1 << 16
_CHUNK_BYTES: Final = 1 << 16


def _places(members: _Members) -> Iterator[tuple[str, str, int, int]]:
    """Name, type, offset and size of each member, each at a multiple of its own size."""
    at = _COMMON_BYTES
    for name, (kind, size) in members:
        step = 1 if kind == "char" else size
        at = -(-at // step) * step
        yield name, kind, at, size
        at += size


def _text(kind: Kind) -> EventText:
    members, shown = _LAYOUTS[kind]
    name = NAMED[kind][0]
    lines = "".join(
        f"\tfield:{type_} {member}{f'[{size}]' if type_ == 'char' else ''};\toffset:{at};\tsize:{size};"
        f"\tsigned:{int(type_ != 'u64')};\n"
        for member, type_, at, size in _places(members)
    )
    head = f"name: {name}\nID: {_IDS[kind]}\nformat:\n{COMMON_FIELDS}\n"
    system = "sched" if name.startswith("sched_") else "kprobes"
    return EventText(_IDS[kind], system, f"{head}{lines}\nprint fmt: {shown}\n")


def _packer(kind: Kind) -> struct.Struct:
    form, end = "<HBBi", _COMMON_BYTES
    for _, type_, at, size in _places(_LAYOUTS[kind][0]):
        form += f"{at - end}x" + {"char": f"{size}s", "u64": "Q", "long": "q"}.get(type_, "i")
        end = at + size
    return struct.Struct(form + f"{-end % 4}x")


_PACKERS: Final = {kind: _packer(kind) for kind in _LAYOUTS}


class _Ring:
    """The pages of one CPU."""

    def __init__(self, scratch: Path) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(scratch))  # noqa: SIM115 - closed by its owner
        self._data = bytearray()
        self._begin_ns = self._last_ns = 0
        self._missed: int | None = None
        self.pages = 0

    def add(self, time_ns: int, event: bytes) -> None:
        passed_ns = time_ns - self._last_ns
        if passed_ns < 0 or len(self._data) + len(event) + 12 > _MAX_PAGE_DATA:
            self.finish()
        if not self._data:
            self._begin_ns, passed_ns = time_ns, 0
        if passed_ns > _MASK27:
            self._data += struct.pack("<II", _TIME_EXTEND | (passed_ns & _MASK27) << 5, passed_ns >> 27)
            passed_ns = 0
        self._data += struct.pack("<I", len(event) // 4 | passed_ns << 5) + event
        self._last_ns = time_ns

    def lose(self, count: int) -> None:
        """Say that events are missing here; 0 for an unknown number."""
        self.finish()
        is_known = count and self._missed != 0
        self._missed = (self._missed or 0) + count if is_known else 0

    def finish(self) -> None:
        """Write the page that is being filled."""
        if not self._data:
            return
        flags, behind = 0, b""
        if self._missed is not None:
            flags = _MISSED | (_MISSED_COUNTED if self._missed else 0)
            behind = struct.pack("<Q", self._missed) if self._missed else b""
        head = struct.pack("<QQ", self._begin_ns, len(self._data) | flags)
        self._file.write((head + self._data + behind).ljust(MIN_PAGE_BYTES, b"\0"))
        self._data.clear()
        self._missed = None
        self.pages += 1

    def read(self) -> Iterator[bytes]:
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        self._file.close()


class TracePages:
    """Makes a ``trace.dat`` of blocks. A context, which removes what it keeps on disk.

    Args:
        scratch: A directory with room for the file.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._rings: dict[int, _Ring] = {}
        self._comms: dict[int, str] = {}
        self.events = 0
        """That are in it."""
        self.left_out = 0
        """Of blocks of before the guest was booted again."""

    def __enter__(self) -> TracePages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()

    def restart(self) -> None:
        """Begin again: the guest was booted again, and its clock with it."""
        self._clear()
        self._comms.clear()
        self.left_out += self.events
        self.events = 0

    def add(self, block: TraceBlock) -> None:
        """Add the next block.

        Raises:
            CodecError: It is damaged.
            OSError: The disk is full.
        """
        if len(self._comms) < _MAX_COMMS:
            self._comms.update(islice(block.comms.items(), _MAX_COMMS))
        for cpu, count in block.lost.items():
            self._ring(cpu).lose(count)
        if block.dropped or block.left_out:
            for ring in self._rings.values():
                ring.lose(0)
        for row in unpack(block):
            if row.kind in _PACKERS:
                self._ring(row.cpu).add(row.time_ns, self._packed(row))
                self.events += 1

    def _ring(self, cpu: int) -> _Ring:
        found = self._rings.get(cpu)
        if found is None:
            if not 0 <= cpu < MAX_CPUS:
                raise CodecError(f"an event of the trace on CPU {cpu}")
            found = self._rings[cpu] = _Ring(self._scratch)
        return found

    def _packed(self, row: TraceRow) -> bytes:
        values = [self._value(name, row) for name, _ in _LAYOUTS[row.kind][0]]
        return _PACKERS[row.kind].pack(_IDS[row.kind], 0, 0, row.other, *values)

    def _value(self, name: str, row: TraceRow) -> int | bytes:
        match name:
            case "comm" | "next_comm":
                return self._comm(row.pid, row.cpu)
            case "prev_comm":
                return self._comm(row.other, row.cpu)
            case "prev_pid":
                return row.other
            case "pid" | "next_pid":
                return row.pid
            case "prio" | "next_prio":
                return row.prio
            case "prev_state":
                return row.number if row.number < 1 << 63 else row.number - (1 << 64)
            case "dsq" | "on":
                return row.number
            case _:
                return row.to_cpu

    def _comm(self, pid: int, cpu: int) -> bytes:
        return comm_of(pid, cpu, self._comms).encode()[:15]

    def take(self, events: Iterable[Event]) -> None:
        """Add all blocks of a recording; raises as `add` does."""
        for event in events:
            if isinstance(event, TraceRead):
                self.add(event.block)
            elif isinstance(event, GuestRestarted):
                self.restart()

    def parts(self) -> Iterator[bytes]:
        """The file, piece by piece."""
        cpus = range(max(self._rings, default=-1) + 1)
        for ring in self._rings.values():
            ring.finish()
        counts = [self._rings[cpu].pages if cpu in self._rings else 0 for cpu in cpus]
        yield file_begin(counts, [_text(kind) for kind in _LAYOUTS], self._comms)
        for cpu in cpus:
            if cpu in self._rings:
                yield from self._rings[cpu].read()
