"""BPF hash tables, LRU or not, per CPU or not, of values or of maps.

Mirrors ``struct bpf_htab``, ``bucket``, ``htab_elem`` (kernel/bpf/hashtab.c). Buckets are ``hlist_nulls``: a chain ends
in an odd number, not in NULL. The value follows the key, which is rounded up to 8 bytes; of a per-CPU hash it is a
per-CPU pointer, of a hash of maps the address of a ``struct bpf_map``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_arrays import Arrays
from ktstr_tui.kernel.bpf_map_raw import MAX_BUCKETS, MAX_CHAIN, MAX_MAP_BYTES, Copier, RawMap, Ready, filled
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout


class Hashes:
    """Copies hash tables.

    Args:
        btf: The kernel's BTF.
        arrays: Reads the values of per-CPU tables.
    """

    def __init__(self, btf: Btf, arrays: Arrays) -> None:
        self._arrays = arrays
        self._map_id = Layout(btf, "bpf_map", {"id": "id"})
        self._table = Layout(btf, "bpf_htab", {"buckets": "buckets", "count": "n_buckets"})
        self._element_key = Layout(btf, "htab_elem", {}).offset("key")
        self._bucket_bytes = Layout(btf, "bucket", {}).size
        kinds = ("HASH", "LRU_HASH", "PERCPU_HASH", "LRU_PERCPU_HASH", "HASH_OF_MAPS")
        self.copiers: dict[str, Copier] = dict.fromkeys(kinds, self._copy_hash)

    def _copy_hash(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        key_size, value_size = raw.row["key_size"], min(raw.row["value_size"], MAX_MAP_BYTES)
        rounded = (key_size + 7) // 8 * 8
        pointer = "PERCPU" in raw.type_name or raw.type_name == "HASH_OF_MAPS"
        key_at, value_at = self._element_key, self._element_key + rounded
        for element in self._elements(space, address, raw, value_at + (8 if pointer else value_size)):
            if len(raw.entries) >= limit:
                raw.truncated = True
                return
            value: bytes | tuple[bytes, ...] | Ready = element[value_at:]
            if pointer:
                value = self._behind(space, raw, int.from_bytes(element[value_at:], "little"))
            raw.entries.append((element[key_at : key_at + key_size], value))

    def _behind(self, space: AddressSpace, raw: RawMap, pointer: int) -> tuple[bytes, ...] | Ready:
        if raw.type_name == "HASH_OF_MAPS":
            return {"map_id": self._map_id.read(space, pointer)["id"]}
        return self._arrays.each_cpu(space, pointer, raw.row["value_size"])

    def _elements(self, space: AddressSpace, address: int, raw: RawMap, size: int) -> Iterator[bytes]:
        """The first ``size`` bytes of the elements of all buckets, each in one read; a chain ends in an odd pointer."""
        table = self._table.read(space, address)
        count = min(table["count"], MAX_BUCKETS)
        raw.truncated |= count < table["count"]
        heads = space.read(table["buckets"], self._bucket_bytes * count)
        for node in filled(heads, self._bucket_bytes):
            for _ in range(MAX_CHAIN):
                if node & 1 or node < KERNEL_HALF:
                    break
                element = space.read(node, size)
                yield element
                node = int.from_bytes(element[:8], "little")  # noqa: PLW2901 - the chain is the loop
            else:
                raw.truncated = True
