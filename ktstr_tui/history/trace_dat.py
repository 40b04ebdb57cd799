"""Writes ``trace.dat``, the file of trace-cmd and kernelshark, from the rings of a kernel as they are.

The pages go into the file unchanged, and the descriptions of events in the kernel's own words, so whoever reads it
decodes them without us. Format 6, which every trace-cmd since 2.0 reads (``trace-cmd.dat.v6(5)``)::

    17 08 44 "tracing" "6" 0 | u8 big-endian? | u8 bytes of a long | u32 page size
    "header_page" 0, u64 length, text; "header_event" 0, u64 length, text
    u32 formats of ftrace's own: none
    u32 systems, for each: name 0, u32 events, for each: u64 length, text
    u32 length of kallsyms: none; u32 length of printk formats: none; u64 length, "PID COMM" lines
    u32 CPUs | "options  " 0 | u16 0 | "flyrecord" 0
    for each CPU: u64 offset, u64 length; then, from a whole page on, the pages
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from ktstr_tui.kernel.trace.formats import EventText
from ktstr_tui.kernel.trace.rings import PageCopy, RingCopy

_MAGIC: Final = b"\x17\x08\x44tracing6\0"
_HEAD_BYTES: Final = 16
"""Of a page: its time and how much of it is valid."""
MIN_PAGE_BYTES: Final = 4096
_HEADER_PAGE: Final = (
    "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
    "\tfield: char data;\toffset:16;\tsize:{size};\tsigned:1;\n"
)
_HEADER_EVENT: Final = (
    "# compressed entry header\n"
    "\ttype_len    :    5 bits\n\ttime_delta  :   27 bits\n\tarray       :   32 bits\n\n"
    "\tpadding     : type == 29\n\ttime_extend : type == 30\n\ttime_stamp : type == 31\n"
    "\tdata max type_len  == 28\n"
)


def trace_dat(rings: Sequence[RingCopy], events: Iterable[EventText], comms: Mapping[int, str]) -> bytes:
    """Return the file.

    Args:
        rings: Of all CPUs, in their order; one that could not be read is empty.
        events: Descriptions of the events in them.
        comms: Names of tasks by pid.
    """
    size = _page_bytes(rings)
    begin = file_begin([len(ring.pages) for ring in rings], events, comms, size)
    return begin + b"".join(_page(it, size) for ring in rings for it in ring.pages)


def file_begin(
    page_counts: Sequence[int],
    events: Iterable[EventText],
    comms: Mapping[int, str],
    size: int = MIN_PAGE_BYTES,
) -> bytes:
    """Everything that comes before the pages, which follow CPU by CPU.

    Args:
        page_counts: Pages of each CPU, in their order.
        events: Descriptions of the events in them.
        comms: Names of tasks by pid.
        size: Bytes of a page.
    """
    head = b"".join(
        (
            _MAGIC,
            struct.pack("<BBI", 0, 8, size),
            b"header_page\0",
            _long(_HEADER_PAGE.format(size=size - _HEAD_BYTES)),
            b"header_event\0",
            _long(_HEADER_EVENT),
            struct.pack("<I", 0),
            _systems(events),
            struct.pack("<II", 0, 0),
            _long("".join(f"{pid} {comm}\n" for pid, comm in sorted(comms.items()))),
            struct.pack("<I", len(page_counts)),
            b"options  \0",
            struct.pack("<H", 0),
            b"flyrecord\0",
        )
    )
    at = -(-(len(head) + 16 * len(page_counts)) // size) * size
    index = b""
    for count in page_counts:
        index += struct.pack("<QQ", at, size * count)
        at += size * count
    begin = head + index
    return begin + bytes(-len(begin) % size)


def _page_bytes(rings: Iterable[RingCopy]) -> int:
    longest = max((len(page.data) for ring in rings for page in ring.pages), default=0) + _HEAD_BYTES
    size = MIN_PAGE_BYTES
    while size < longest:
        size *= 2
    return size


def _page(page: PageCopy, size: int) -> bytes:
    return (struct.pack("<QQ", page.time_ns, len(page.data)) + page.data).ljust(size, b"\0")


def _systems(events: Iterable[EventText]) -> bytes:
    groups = groupby(sorted(events, key=lambda it: (it.system, it.id)), key=lambda it: it.system)
    systems = {name: [_long(it.text) for it in group] for name, group in groups}
    out = struct.pack("<I", len(systems))
    for name, texts in systems.items():
        out += name.encode() + b"\0" + struct.pack("<I", len(texts)) + b"".join(texts)
    return out


def _long(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return struct.pack("<Q", len(data)) + data
