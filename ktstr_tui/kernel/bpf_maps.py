"""BPF maps, in two steps, because the first may have to happen while the guest is frozen.

``copy`` walks ``map_idr`` and copies the bytes of keys and values, and of the BTF that describes them: when a
scheduler was ejected, its maps and their BTF are gone milliseconds after the guest runs again. ``render``
turns the bytes into values afterwards.

All maps begin with ``struct bpf_map`` (include/linux/bpf.h); ``map_idr`` (kernel/bpf/syscall.c) has them by id. The
types of key and value are ids in the BTF behind ``btf``, or, for struct_ops, in the kernel's own. Where the entries
are depends on the kind of map; each family has a module: `bpf_arrays`, `bpf_hashes`, `bpf_storage`, `bpf_queues`,
`bpf_tries`, `bpf_arenas`, and `bpf_timers` for the timers in values.

A map of maps may have thousands of inner ones without a name. Those of one shape beyond the first few are folded into
one line with their number; what is in them is not copied.

How exact is this? In a frozen guest, exact, but for the entry that a stopped CPU was writing. In a running one, entries
that are moved meanwhile may be missing or be there twice, and a value may be half written: the spin locks of BPF are
not taken here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_arenas import Arenas, add_objects
from ktstr_tui.kernel.bpf_arrays import Arrays, PointerArrays
from ktstr_tui.kernel.bpf_hashes import Hashes
from ktstr_tui.kernel.bpf_map_raw import (
    MAX_ENTRIES,
    MAX_KEY_BYTES,
    MAX_MAP_BYTES,
    MAX_TOTAL_BYTES,
    Copier,
    RawBtf,
    RawMap,
)
from ktstr_tui.kernel.bpf_queues import Queues, Rings
from ktstr_tui.kernel.bpf_storage import Storages
from ktstr_tui.kernel.bpf_timers import TIMER_STRUCT, Timers
from ktstr_tui.kernel.bpf_tries import Tries
from ktstr_tui.kernel.btf import MAX_BTF_BYTES, Btf, BtfError, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.render import MAX_ARRAY, Renderer
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.xarray import IdTables
from ktstr_tui.model.report import MapEntry, MapReport

MAX_MAPS = 512
MAX_LISTED = 8192
"""Maps that are looked at; folded ones do not count as one of ``MAX_MAPS``."""
FOLD_BEYOND = 8
"""Nameless maps of one shape that are shown one by one."""
_MAX_PARSED = 64
_MAP = {
    "map_type": "map_type",
    "key_size": "key_size",
    "value_size": "value_size",
    "max_entries": "max_entries",
    "id": "id",
    "name": "name",
    "btf": "btf",
    "key_type": "btf_key_type_id",
    "value_type": "btf_value_type_id",
    "kernel_value_type": "btf_vmlinux_value_type_id",
    "record": "record",
}
_PREFIX = "BPF_MAP_TYPE_"


class BpfMaps:
    """Copies and renders the maps of one kernel.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        cpus: Its CPUs.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus) -> None:
        self._btf, self._cpus = btf, cpus
        self._idr = symbols.find("map_idr")
        self._ids = IdTables(btf)
        self._map = Layout(btf, "bpf_map", _MAP)
        self._map_btf = Layout(
            btf,
            "btf",
            {"data": "data", "size": "data_size", "id": "id", "base": "base_btf", "kernel": "kernel_btf"},
        )
        kinds = btf.find("bpf_map_type", Kind.ENUM)
        rows = () if kinds is None else btf.enumerators(kinds)
        self._types: dict[int, str] = {}
        for name, number in rows:
            self._types.setdefault(number, name.removeprefix(_PREFIX))
        self._arrays = arrays = Arrays(btf, cpus)
        self._copiers: dict[str, Copier] = {**arrays.copiers, **Hashes(btf, arrays).copiers}
        for family in (Storages, PointerArrays, Queues, Rings, Tries, lambda btf: Arenas(btf, symbols)):
            self._copiers |= _copiers_of(family, btf)
        self._timers = _timers_of(btf)
        self._parsed: dict[tuple[int, int], Btf] = {}

    def copy(
        self,
        space: AddressSpace,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_TOTAL_BYTES,
        max_seconds: float = math.inf,
    ) -> tuple[list[RawMap], bool]:
        """Copy all maps; the second value is whether there were more than are looked at.

        Args:
            space: Where to read.
            max_entries: Most entries of one map.
            max_bytes: Most bytes of all maps.
            max_seconds: Time after which no further map is copied, only described.

        Raises:
            MemoryReadError: If the table of maps itself cannot be read; a single map's trouble is in its
                record.
        """
        found: list[RawMap] = []
        seen: dict[tuple[int, int], RawBtf] = {}
        if self._idr is None:
            return found, False
        started_s = time.perf_counter()
        left, folds, more = max_bytes, Folds(), False
        arenas: list[tuple[int, RawMap]] = []
        for seen_maps, (_, address) in enumerate(self._ids.entries(space, self._idr, MAX_LISTED + 1)):
            spent_s = time.perf_counter() - started_s
            if (
                seen_maps >= MAX_LISTED
                or len(found) >= MAX_MAPS
                or spent_s > max(2 * max_seconds, 0.0) + 0.02
            ):
                more = True
                break
            raw = self._describe(space, address, _used_up(left, spent_s > max_seconds))
            if folds.takes(raw):
                continue
            if raw.error is None and raw.type_name == "ARENA":
                arenas.append((address, raw))  # the globals that point into it are worth more than its pages
            elif raw.error is None:
                self._fill(space, address, raw, seen, min(max_entries, self._fitting(raw, left)))
            left -= _copied_bytes(raw)
            found.append(raw)
        for address, raw in arenas:
            raw.error = _used_up(left, time.perf_counter() - started_s > max_seconds)
            raw.truncated = raw.error is not None
            if raw.error is None:
                self._fill(space, address, raw, seen, max(0, min(left, MAX_MAP_BYTES)))
            left -= _copied_bytes(raw)
        return found, more

    def copy_section(self, space: AddressSpace, address: int) -> RawMap | None:
        """Copy a map if it is a section of globals; raises ``MemoryReadError``."""
        row = self._map.read(space, address)
        if self._types.get(row["map_type"]) != "ARRAY" or b"." not in row["name"]:
            return None
        raw = self._describe(space, address, None)
        if raw.error is None:
            self._fill(space, address, raw, {}, 1)
            raw.value_address = self._arrays.value_address(address)
        return raw

    def _describe(self, space: AddressSpace, address: int, used_up: str | None) -> RawMap:
        """The map without its entries, and with the reason if they are not to be copied."""
        row = self._map.read(space, address)
        raw = RawMap(row, self._types.get(row["map_type"], str(row["map_type"])))
        if raw.type_name not in self._copiers:
            raw.error = f"maps of type {raw.type_name} are not rendered"
        elif row["key_size"] > MAX_KEY_BYTES:
            raw.error = f"a key of {row['key_size']} bytes is implausible"
        elif used_up is not None:
            raw.truncated, raw.error = True, used_up
        return raw

    def _fitting(self, raw: RawMap, left: int) -> int:
        """How many entries fit into the bytes that are left; one always does."""
        copies = self._cpus.count if "PERCPU" in raw.type_name else 1
        per_entry = max(1, raw.row["value_size"] * copies + raw.row["key_size"])
        return max(1, min(left, MAX_MAP_BYTES) // int(per_entry))

    def _fill(
        self, space: AddressSpace, address: int, raw: RawMap, seen: dict[tuple[int, int], RawBtf], limit: int
    ) -> None:
        try:
            self._copiers[raw.type_name](space, address, raw, limit)
            if self._timers is not None:
                self._timers.copy(space, raw)
            raw.btf = self._copy_btf(space, raw.row["btf"], seen)
        except MemoryReadError as problem:
            raw.error = problem.message

    def _copy_btf(
        self, space: AddressSpace, address: int, seen: dict[tuple[int, int], RawBtf]
    ) -> RawBtf | None:
        if address < KERNEL_HALF:
            return None
        row = self._map_btf.read(space, address)
        key = (row["id"], row["size"])
        if key not in seen:
            known = row["kernel"] or key in self._parsed or row["size"] > MAX_BTF_BYTES
            data = None if known else space.read(row["data"], row["size"])
            seen[key] = RawBtf(key, data, bool(row["kernel"]), bool(row["base"]))
        return seen[key]

    def render_all(self, raws: list[RawMap]) -> tuple[MapReport, ...]:
        """Turn copied maps into what a report shows, arenas with what globals and values of other maps point to."""
        arenas = [raw for raw in raws if raw.pages]
        objects: dict[int, list[MapEntry]] = {}
        for raw in raws if arenas else ():
            for arena, entries in add_objects(arenas, raw, self.btf_of(raw)).items():
                objects.setdefault(arena, []).extend(entries)
        return tuple(self.render(raw, objects.get(raw.row["id"])) for raw in raws)

    def render(self, raw: RawMap, objects: list[MapEntry] | None = None) -> MapReport:
        """Turn a copied map into what a report shows. Values without type information are hexadecimal text.

        Args:
            raw: The copy.
            objects: Of an arena: what is known to be in it.
        """
        row, btf = raw.row, self.btf_of(raw)
        value_type = row["value_type"]
        if row["kernel_value_type"]:
            btf, value_type = self._btf, row["kernel_value_type"]
        renderer = Renderer(btf, max_array=MAX_ARRAY) if btf else None
        entries = list(objects or ())
        for key, value in raw.entries:
            shown_key = _rendered(None if raw.own_keys else renderer, row["key_type"], key)
            if isinstance(value, bytes):
                shown = _rendered(renderer, value_type, value)
                if key in raw.timers and btf is not None:
                    _put_timer(btf, value_type, shown, raw.timers[key])
                entries.append(MapEntry(shown_key, shown))
            elif isinstance(value, dict):
                entries.append(MapEntry(shown_key, value))
            else:
                entries.append(MapEntry(shown_key, [_rendered(renderer, value_type, v) for v in value]))
        return MapReport(
            id=row["id"],
            name=text(row["name"]),
            map_type=raw.type_name.lower(),
            key_size=row["key_size"],
            value_size=row["value_size"],
            max_entries=row["max_entries"],
            entries=tuple(entries),
            truncated=raw.truncated or (renderer is not None and renderer.truncated),
            error=raw.error,
            state=raw.state,
            count=raw.count,
        )

    def btf_of(self, raw: RawMap) -> Btf | None:
        """Parse the BTF of a copied map; None when it has none that can be read."""
        where = raw.btf
        if where is None:
            return None
        if where.kernel:
            return self._btf
        if where.data is not None and where.key not in self._parsed:
            if len(self._parsed) >= _MAX_PARSED:
                self._parsed.pop(next(iter(self._parsed)))
            try:
                self._parsed[where.key] = Btf(where.data, self._btf if where.split else None)
            except BtfError as problem:
                raw.error = problem.message
        return self._parsed.get(where.key)


class Folds:
    """Counts nameless maps by their shape, and keeps one line for all of a shape beyond the first few."""

    def __init__(self) -> None:
        self._seen: dict[tuple[Any, ...], int] = {}
        self._lines: dict[tuple[Any, ...], RawMap] = {}

    def takes(self, raw: RawMap) -> bool:
        """Whether the map was added to a line that stands for others; the first of a line is not, and starts it."""
        if raw.row["name"].strip(b"\0"):
            return False
        shape = (raw.type_name, *(raw.row[name] for name in ("key_size", "value_size", "max_entries")))
        self._seen[shape] = count = self._seen.get(shape, 0) + 1
        if count <= FOLD_BEYOND:
            return False
        line = self._lines.setdefault(shape, raw)
        line.count = count - FOLD_BEYOND
        line.state["last_id"] = raw.row["id"]
        line.error, line.truncated = "not copied: nameless maps like those above", True
        return line is not raw


def _copiers_of(family: Callable[[Btf], Any], btf: Btf) -> dict[str, Copier]:
    """What a family of maps can copy; nothing on a kernel without it."""
    try:
        copiers: dict[str, Copier] = family(btf).copiers
    except BtfError:
        return {}
    return copiers


def _timers_of(btf: Btf) -> Timers | None:
    try:
        return Timers(btf)
    except BtfError:
        return None


def _used_up(bytes_left: int, is_late: bool) -> str | None:
    """Why no further map is copied; None while there is room and time."""
    what = "bytes" if bytes_left <= 0 else "time" if is_late else None
    return what and f"not copied: earlier maps used up the {what} of a capture"


def _copied_bytes(raw: RawMap) -> int:
    """About how much was copied of a map; what a pointer led to counts as a line of text."""
    total = sum(map(len, raw.pages.values()))
    for key, value in raw.entries:
        size = len(value) if isinstance(value, bytes) else 64
        total += len(key) + (sum(map(len, value)) if isinstance(value, tuple) else size)
    return total


def _put_timer(btf: Btf, type_id: int, shown: object, state: dict[str, Any]) -> None:
    """Put the state of a timer in place of its opaque words."""
    record = btf.resolve(type_id)
    if record.kind != Kind.STRUCT or not isinstance(shown, dict):
        return
    if record.name == TIMER_STRUCT:
        shown.clear()
        shown.update(state)
        return
    for member in btf.members(record.id):
        if member.name and btf.resolve(member.type_id).name == TIMER_STRUCT:
            shown[member.name] = state


def _rendered(renderer: Renderer | None, type_id: int, data: bytes) -> object:
    if renderer is not None and type_id:
        return renderer.render(type_id, data)
    return int.from_bytes(data, "little") if len(data) in (1, 2, 4, 8) else data.hex()
