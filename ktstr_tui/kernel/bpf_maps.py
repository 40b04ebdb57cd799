"""BPF maps, in two steps, because the first may have to happen while the guest is frozen.

``copy`` walks ``map_idr`` and copies the bytes of keys and values, and of the BTF that describes them: when a
scheduler was ejected, its maps and their BTF are gone milliseconds after the guest runs again. ``render``
turns the bytes into values afterwards.

Where the bytes are, by kind of map, and the source that each walk mirrors:

- all: ``struct bpf_map`` (include/linux/bpf.h) under its id in ``map_idr`` (kernel/bpf/syscall.c); the types of key and
  value are ids in the BTF behind ``btf``, or, for struct_ops, in the kernel's own;
- array: ``struct bpf_array`` (include/linux/bpf.h), values one behind another in steps of ``elem_size``;
- per-CPU array: the same, but its ``pptrs`` are per-CPU pointers, one for each index;
- hash, LRU or not: ``struct bpf_htab``, ``bucket``, ``htab_elem`` (kernel/bpf/hashtab.c). Buckets are ``hlist_nulls``:
  a chain ends in an odd number, not in NULL. The value follows the key, which is rounded up to 8 bytes; of a per-CPU
  hash it is a per-CPU pointer;
- task storage: ``struct bpf_local_storage_map``, ``…_elem``, ``bpf_local_storage`` (include/linux/bpf_local_storage.h),
  1 << bucket_log buckets of plain ``hlist``; the key is the task that owns the storage;
- struct_ops: ``struct bpf_struct_ops_map`` (kernel/bpf/bpf_struct_ops.c), one value.

How exact is this? In a frozen guest, exact, but for the entry that a stopped CPU was writing. In a running one, entries
that are moved meanwhile may be missing or be there twice, and a value may be half written: the spin locks of BPF are
not taken here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
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
MAX_KEY_BYTES = 4096
MAX_ENTRIES = 1024
MAX_MAP_BYTES = 1 << 20
MAX_TOTAL_BYTES = 8 << 20
_MAX_PARSED = 64
_MAX_BUCKETS = 1 << 17
_MAX_CHAIN = 1024
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
}
_PREFIX = "BPF_MAP_TYPE_"
_HIGH_BIT = bytes(byte >> 7 for byte in range(256))


@dataclass(slots=True)
class RawMap:
    """A map's description and the copied bytes of its entries."""

    row: dict[str, Any]
    type_name: str
    entries: list[tuple[bytes, bytes | tuple[bytes, ...]]] = field(default_factory=list)
    """Key, and value or one value per CPU."""
    truncated: bool = False
    error: str | None = None
    btf: RawBtf | None = None


@dataclass(slots=True)
class RawBtf:
    """The copied BTF of one or more maps; without data when it is known already."""

    key: tuple[int, int]
    """``(btf->id, data_size)``; ids are not reused."""
    data: bytes | None
    kernel: bool
    split: bool


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
        array = Layout(btf, "bpf_array", {"elem_size": "elem_size"})
        self._array, self._values = array, array.offset("value")
        self._table = Layout(btf, "bpf_htab", {"buckets": "buckets", "count": "n_buckets"})
        self._element_key = Layout(btf, "htab_elem", {}).offset("key")
        self._bucket_bytes = Layout(btf, "bucket", {}).size
        self._ops_value = Layout(btf, "bpf_struct_ops_map", {}).find_offset("kvalue")
        self._storage = Layout(btf, "bpf_local_storage_map", {"buckets": "buckets", "log": "bucket_log"})
        self._storage_bucket_bytes = Layout(btf, "bpf_local_storage_map_bucket", {}).size
        self._stored = Layout(
            btf, "bpf_local_storage_elem", {"next": "map_node.next", "storage": "local_storage"}
        )
        self._stored_data = self._stored.offset("sdata.data")
        self._owner = Layout(btf, "bpf_local_storage", {"owner": "owner"})
        self._pid = Layout(btf, "task_struct", {"pid": "pid"})
        kinds = btf.find("bpf_map_type", Kind.ENUM)
        rows = () if kinds is None else btf.enumerators(kinds)
        self._types: dict[int, str] = {}
        for name, number in rows:
            self._types.setdefault(number, name.removeprefix(_PREFIX))
        self._copiers: dict[str, Callable[[AddressSpace, int, RawMap, int], None]] = {
            "ARRAY": self._copy_array,
            "PERCPU_ARRAY": self._copy_percpu_array,
            "HASH": self._copy_hash,
            "LRU_HASH": self._copy_hash,
            "PERCPU_HASH": self._copy_hash,
            "LRU_PERCPU_HASH": self._copy_hash,
            "STRUCT_OPS": self._copy_struct_ops,
            "TASK_STORAGE": self._copy_task_storage,
        }
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
        left, deadline_s = max_bytes, time.perf_counter() + max_seconds
        for _, address in self._ids.entries(space, self._idr, MAX_MAPS):
            used_up = "bytes" if left <= 0 else "time" if time.perf_counter() > deadline_s else None
            raw = self._describe(space, address, used_up)
            if raw.error is None:
                self._fill(space, address, raw, seen, min(max_entries, self._fitting(raw, left)))
            left -= sum(
                len(k) + (len(v) if isinstance(v, bytes) else sum(map(len, v))) for k, v in raw.entries
            )
            found.append(raw)
        return found, len(found) >= MAX_MAPS

    def _describe(self, space: AddressSpace, address: int, used_up: str | None) -> RawMap:
        """The map without its entries, and with the reason if they are not to be copied."""
        row = self._map.read(space, address)
        raw = RawMap(row, self._types.get(row["map_type"], str(row["map_type"])))
        if raw.type_name not in self._copiers:
            raw.error = f"maps of type {raw.type_name} are not rendered"
        elif row["key_size"] > MAX_KEY_BYTES:
            raw.error = f"a key of {row['key_size']} bytes is implausible"
        elif used_up is not None:
            raw.truncated, raw.error = True, f"not copied: earlier maps used up the {used_up} of a capture"
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

    def _copy_array(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        size = min(raw.row["value_size"], MAX_MAP_BYTES)
        raw.truncated = size < raw.row["value_size"]
        count = min(raw.row["max_entries"], limit)
        step = self._array.read(space, address)["elem_size"] if count > 1 else size
        if not size <= step <= size + 8:
            raise MemoryReadError(f"elements of {step} bytes for values of {size}", address)
        data = space.read(address + self._values, step * (count - 1) + size) if count else b""
        raw.entries = [(k.to_bytes(4, "little"), data[k * step : k * step + size]) for k in range(count)]
        raw.truncated |= count < raw.row["max_entries"]

    def _copy_percpu_array(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        count = min(raw.row["max_entries"], limit)
        pointers = memoryview(space.read(address + self._values, 8 * count)).cast("Q")
        for k, pointer in enumerate(pointers):
            raw.entries.append(
                (k.to_bytes(4, "little"), self._each_cpu(space, pointer, raw.row["value_size"]))
            )
        raw.truncated = count < raw.row["max_entries"]

    def _each_cpu(self, space: AddressSpace, pointer: int, size: int) -> tuple[bytes, ...]:
        size = min(size, MAX_MAP_BYTES)
        return tuple(space.read(self._cpus.per_cpu(pointer, cpu), size) for cpu in range(self._cpus.count))

    def _copy_hash(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        key_size, value_size = raw.row["key_size"], min(raw.row["value_size"], MAX_MAP_BYTES)
        rounded = (key_size + 7) // 8 * 8
        per_cpu = "PERCPU" in raw.type_name
        key_at, value_at = self._element_key, self._element_key + rounded
        for element in self._elements(space, address, raw, value_at + (8 if per_cpu else value_size)):
            if len(raw.entries) >= limit:
                raw.truncated = True
                return
            value: bytes | tuple[bytes, ...] = element[value_at:]
            if per_cpu:
                value = self._each_cpu(space, int.from_bytes(element[value_at:], "little"), value_size)
            raw.entries.append((element[key_at : key_at + key_size], value))

    def _copy_task_storage(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        """Keys are pids, in place of the pidfds that user space looks entries up by."""
        size = min(raw.row["value_size"], MAX_MAP_BYTES)
        for element in self._stored_elements(space, address, raw):
            if len(raw.entries) >= limit:
                raw.truncated = True
                return
            storage = self._stored.read(space, element)["storage"]
            owner = self._owner.read(space, storage)["owner"] if storage >= KERNEL_HALF else 0
            if owner >= KERNEL_HALF:
                key = int(self._pid.read(space, owner)["pid"]).to_bytes(4, "little", signed=True)
                raw.entries.append((key, space.read(element + self._stored_data, size)))

    def _stored_elements(self, space: AddressSpace, address: int, raw: RawMap) -> Iterator[int]:
        table = self._storage.read(space, address)
        count = min(1 << min(table["log"], 32), _MAX_BUCKETS)
        raw.truncated |= count < 1 << min(table["log"], 32)
        heads = space.read(table["buckets"], self._storage_bucket_bytes * count)
        for node in _filled(heads, self._storage_bucket_bytes):
            for _ in range(_MAX_CHAIN):
                if node < KERNEL_HALF:
                    break
                yield node
                node = self._stored.read(space, node)["next"]  # noqa: PLW2901 - the chain is the loop
            else:
                raw.truncated = True

    def _elements(self, space: AddressSpace, address: int, raw: RawMap, size: int) -> Iterator[bytes]:
        """The first ``size`` bytes of the elements of all buckets, each in one read; a chain ends in an odd pointer."""
        table = self._table.read(space, address)
        count = min(table["count"], _MAX_BUCKETS)
        raw.truncated |= count < table["count"]
        heads = space.read(table["buckets"], self._bucket_bytes * count)
        for node in _filled(heads, self._bucket_bytes):
            for _ in range(_MAX_CHAIN):
                if node & 1 or node < KERNEL_HALF:
                    break
                element = space.read(node, size)
                yield element
                node = int.from_bytes(element[:8], "little")  # noqa: PLW2901 - the chain is the loop
            else:
                raw.truncated = True

    def _copy_struct_ops(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        if self._ops_value is None or not limit:
            raw.error = "this kernel's struct_ops maps have no kvalue"
            return
        value = space.read(address + self._ops_value, min(raw.row["value_size"], MAX_MAP_BYTES))
        raw.entries = [(b"\0\0\0\0", value)]

    def render(self, raw: RawMap) -> MapReport:
        """Turn a copied map into what a report shows. Values without type information are hexadecimal text."""
        row, btf = raw.row, self.btf_of(raw)
        value_type = row["value_type"]
        if row["kernel_value_type"]:
            btf, value_type = self._btf, row["kernel_value_type"]
        renderer = Renderer(btf, max_array=MAX_ARRAY) if btf else None
        entries = []
        for key, value in raw.entries:
            shown_key = _rendered(renderer, row["key_type"], key)
            if isinstance(value, bytes):
                entries.append(MapEntry(shown_key, _rendered(renderer, value_type, value)))
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


def _filled(buckets: bytes, step: int) -> Iterator[int]:
    """The first elements of those buckets that hold any, found without a look at each of the empty ones.

    A table has many more buckets than elements. Pointers of the kernel have their highest bit set; an empty
    bucket is NULL or a small odd number.
    """
    marks = buckets[7::step].translate(_HIGH_BIT)
    at = marks.find(1)
    while at >= 0:
        yield int.from_bytes(buckets[at * step : at * step + 8], "little")
        at = marks.find(1, at + 1)


def _rendered(renderer: Renderer | None, type_id: int, data: bytes) -> object:
    if renderer is not None and type_id:
        return renderer.render(type_id, data)
    return int.from_bytes(data, "little") if len(data) in (1, 2, 4, 8) else data.hex()
