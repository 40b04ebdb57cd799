"""The variables and programs of the scheduler that is loaded, read while the guest runs.

Variables of a BPF object are the one value of a map for each section (``.bss``, ``.data``, ``.rodata``), whose BTF
names and types them. Only sections that the scheduler's own programs use are read.

How exact is this? A variable is as it was at the look; two of them may be of moments a fraction of a millisecond apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.bpf_map_raw import RawMap
from ktstr_tui.kernel.bpf_maps import BpfMaps
from ktstr_tui.kernel.bpf_programs import BpfPrograms
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.render import Renderer
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.scheduler_values import (
    MAX_VALUE_CHARACTERS,
    MAX_VARIABLES,
    BpfVariable,
    SchedulerValues,
    SchedulerValuesRead,
)
from ktstr_tui.model.text import shorten

MAX_MAPS = 256
"""Of the scheduler's, that are looked at for being a section."""
_MAX_ELEMENTS, _MAX_DEPTH, _MAX_PARTS = 8, 4, 64
"""Of one value: elements of an array, structs in each other, and numbers altogether."""


class VariablePlace(NamedTuple):
    """Where a variable of the scheduler is in the kernel's memory."""

    name: str
    address: int
    size: int
    """In bytes."""


class SchedulerValuesReader:
    """Reads them from one kernel. One thread at a time.

    Args:
        view: The kernel.

    Raises:
        BtfError: This kernel keeps no BPF programs.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view
        self._programs = BpfPrograms(view.btf, view.symbols, view.cpus)
        # Of our own: a capture in another thread uses those of the view.
        self._maps = BpfMaps(view.btf, view.symbols, view.cpus)
        self._quiet = True

    def look(self) -> SchedulerValuesRead | None:
        """Return what there is; None while there is nothing, except once when it has gone.

        Never raises for what the guest's memory holds.
        """
        start = time.perf_counter()
        try:
            values = self._read(self._view.fresh_space())
        except (MemoryReadError, BtfError) as problem:
            values = SchedulerValues(unreadable=str(problem))
        empty = not (values.programs or values.variables or values.unreadable)
        quiet, self._quiet = self._quiet, empty
        if empty and quiet:
            return None
        read_us = (time.perf_counter() - start) * 1e6
        return SchedulerValuesRead(values=msgspec.structs.replace(values, read_us=read_us))

    def places(self) -> Iterator[VariablePlace]:
        """Give where the variables are; raises ``MemoryReadError``, ``BtfError``."""
        space = self._view.fresh_space()
        loaded = self._programs.read(space, counted=False)
        for address in loaded.maps[:MAX_MAPS]:
            raw = self._maps.copy_section(space, address)
            if raw is None or raw.error is not None:
                continue
            btf, places = self._section(raw)
            for type_id, at, size in places:
                assert btf is not None
                yield VariablePlace(btf.record(type_id).name, raw.value_address + at, size)

    def _read(self, space: AddressSpace) -> SchedulerValues:
        counted = self._programs.counted(space)
        loaded = self._programs.read(space, counted=bool(counted))
        sections = [self._maps.copy_section(space, it) for it in loaded.maps[:MAX_MAPS]]
        found, more = list[BpfVariable](), 0
        for raw in filter(None, sections):
            shown, left_out = self._variables(raw, MAX_VARIABLES - len(found))
            found += shown
            more += left_out
        return SchedulerValues(
            clock_ms=self._view.jiffies() * 1e3 / self._view.hz,
            counted=counted,
            programs=loaded.programs,
            more_programs=loaded.more,
            variables=tuple(found),
            more_variables=more,
            unreadable=next((it.error for it in sections if it is not None and it.error), None),
        )

    def _variables(self, raw: RawMap, limit: int) -> tuple[list[BpfVariable], int]:
        """The first variables of a section, and how many more it has."""
        (btf, places), data = self._section(raw), raw.entries[0][1] if raw.entries else None
        if btf is None or not isinstance(data, bytes):
            return [], 0
        renderer = Renderer(btf, _MAX_DEPTH, _MAX_ELEMENTS, _MAX_PARTS)
        section = btf.resolve(raw.row["value_type"]).name or text(raw.row["name"])
        found = []
        for type_id, at, size in places[:limit]:
            variable = btf.record(type_id)
            inner = variable.size_or_type if variable.kind == Kind.VAR else type_id
            value = _plain(renderer.render(inner, data[at : at + size]))
            found.append(BpfVariable(map_id=raw.row["id"], section=section, name=variable.name, value=value))
        return found, len(places) - len(found)

    def _section(self, raw: RawMap) -> tuple[Btf | None, Sequence[tuple[int, int, int]]]:
        """The types of a section, and type, offset and size in bytes of each of its variables."""
        btf = self._maps.btf_of(raw)
        kind = None if btf is None else btf.resolve(raw.row["value_type"])
        if btf is None or kind is None or kind.kind != Kind.DATASEC:
            return btf, ()
        return btf, btf.section(kind.id)


def _plain(value: object) -> int | float | bool | str | None:
    """A number as it is, anything else as a short text."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return value
    whole = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return shorten(whole, MAX_VALUE_CHARACTERS)
