"""How this kernel lays out its trace events, in its own words.

Mirrors ``struct trace_event_call`` (include/linux/trace_events.h), linked from ``ftrace_events``
(kernel/trace/trace_events.c), and its ``class`` with a list of ``struct ftrace_event_field``: what the guest would read
in ``events/…/format``. That covers events that exist only in this boot, such as probes, and members whose size differs
between kernels (``prev_state``).

A dynamic array is a word in the event (``__data_loc``): its place in the lower half, its length in the upper one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn

MAX_EVENT_TYPES = 16384
"""More than any kernel has; a list that is longer was read wrong."""
MAX_FIELDS = 64
MAX_TYPE = (1 << 16) - 1
"""An event's type is 16 bits wide."""
_NAME_BYTES = 64
_PRINT_BYTES = 8192
COMMON_FIELDS = (
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n"
)
"""``struct trace_entry``, which begins every event."""


class Field(NamedTuple):
    """A member of an event."""

    offset: int
    size: int
    signed: bool
    dynamic: bool
    """Whether it is a word that says where the value is."""


class EventFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One type of event."""

    id: int
    name: str
    system: str
    call: int
    """Address of its ``struct trace_event_call``."""
    fields: dict[str, Field] | None = None
    """None when they have not been read."""


class EventText(NamedTuple):
    """What the guest would read in ``events/SYSTEM/NAME/format``."""

    id: int
    system: str
    text: str


class Formats:
    """Reads the descriptions of events.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.

    Raises:
        BtfError: This kernel has no trace events.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        head = symbols.find("ftrace_events")
        if head is None:
            raise BtfError("this kernel has no trace events (CONFIG_EVENT_TRACING)")
        self._head = head
        self._call = Layout(
            btf,
            "trace_event_call",
            {
                "next": "list.next",
                "class": "class",
                "name": "name",
                "type": "event.type",
                "flags": "flags",
                "print": "print_fmt",
            },
        )
        self._link = self._call.offset("list")
        self._class = Layout(btf, "trace_event_class", {"system": "system", "first": "fields.next"})
        self._fields = self._class.offset("fields")
        self._field = Layout(
            btf,
            "ftrace_event_field",
            {
                "next": "link.next", "name": "name", "type": "type", "offset": "offset", "size": "size",
                "signed": "is_signed", "len": "len",
            },
        )  # fmt: skip
        self._field_link = self._field.offset("link")
        self._tracepoint_name = Layout(btf, "tracepoint", {"name": "name"})
        self._is_tracepoint = btf.enum_value("TRACE_EVENT_FL_TRACEPOINT", 1 << 4)

    def names(self, space: AddressSpace, wanted: Collection[str]) -> dict[int, EventFormat]:
        """Read the formats of the events of these names, with their fields.

        Raises:
            Torn: The list is none.
            MemoryReadError: A pointer led nowhere.
        """
        found = {}
        for it in self._calls(space):
            if it.name in wanted and 0 < it.id <= MAX_TYPE:
                found[it.id] = msgspec.structs.replace(it, fields=self._read_fields(space, it.call))
        return found

    def texts(self, space: AddressSpace, ids: Collection[int]) -> list[EventText]:
        """Write the descriptions of events as the kernel does (``f_show()``, kernel/trace/trace_events.c).

        Raises:
            Torn: A list is none.
            MemoryReadError: A pointer led nowhere.
        """
        return [self._text(space, it) for it in self._calls(space) if it.id in ids]

    def _text(self, space: AddressSpace, it: EventFormat) -> EventText:
        call = self._call.read(space, it.call)
        system = space.string(self._class.read(space, call["class"])["system"], _NAME_BYTES)
        shown = space.string(call["print"], _PRINT_BYTES) if call["print"] else '""'
        own = sorted(self._rows(space, it.call), key=lambda row: int(row["offset"]))
        lines = "".join(_field_line(space, row) for row in own)
        head = f"name: {it.name}\nID: {it.id}\nformat:\n{COMMON_FIELDS}\n"
        return EventText(it.id, system, f"{head}{lines}\nprint fmt: {shown}\n")

    def _calls(self, space: AddressSpace) -> list[EventFormat]:
        found, node = list[EventFormat](), space.u64(self._head)
        while node != self._head:
            if len(found) >= MAX_EVENT_TYPES:
                raise Torn("the list of trace events has no end")
            call = node - self._link
            row = self._call.read(space, call)
            found.append(EventFormat(id=row["type"], name=self._name(space, row), system="", call=call))
            node = row["next"]
        return found

    def _name(self, space: AddressSpace, row: dict[str, int]) -> str:
        at = row["name"]
        if at and row["flags"] & self._is_tracepoint:
            at = self._tracepoint_name.read(space, at)["name"]
        return space.string(at, _NAME_BYTES) if at else ""

    def _read_fields(self, space: AddressSpace, call: int) -> dict[str, Field]:
        found = dict[str, Field]()
        for row in self._rows(space, call):
            name = space.string(row["name"], _NAME_BYTES)
            dynamic = space.string(row["type"], _NAME_BYTES).startswith("__data_loc")
            found[name] = Field(row["offset"], row["size"], bool(row["signed"]), dynamic)
        return found

    def _rows(self, space: AddressSpace, call: int) -> Iterator[dict[str, Any]]:
        """Each ``struct ftrace_event_field`` of an event's own, the last first."""
        owner = self._call.read(space, call)["class"]
        head, node = owner + self._fields, self._class.read(space, owner)["first"]
        for _ in range(MAX_FIELDS + 1):
            if node == head:
                return
            row = self._field.read(space, node - self._field_link)
            yield row
            node = row["next"]
        raise Torn("the list of an event's fields has no end")


def _field_line(space: AddressSpace, row: dict[str, Any]) -> str:
    kind, name = space.string(row["type"], _NAME_BYTES), space.string(row["name"], _NAME_BYTES)
    # The length of an array is written behind the name; that of one whose place varies is a part of the type.
    # Kernels with "len" in the field print that, because the type may name a constant (``char[TASK_COMM_LEN]``).
    plain, bracket, rest = kind.partition("[")
    length = rest if row["len"] is None else f"{row['len'] or ''}]"
    declared = (
        f"{plain} {name}[{length}" if bracket and not kind.startswith("__data_loc") else f"{kind} {name}"
    )
    place = f"offset:{row['offset']};\tsize:{row['size']};\tsigned:{int(bool(row['signed']))};"
    return f"\tfield:{declared};\t{place}\n"
