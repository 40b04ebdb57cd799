"""BPF local storage: what a scheduler keeps with each task or each cgroup.

Mirrors ``struct bpf_local_storage_map``, ``…_elem``, ``bpf_local_storage`` (include/linux/bpf_local_storage.h),
1 << bucket_log buckets of plain ``hlist``. The owner of a storage is a ``task_struct`` or a ``cgroup``; user space
looks entries up by a descriptor, so the report has the pid, or the cgroup's id (``kn->id``, the inode number of its
directory), as key.
"""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import MAX_BUCKETS, MAX_CHAIN, MAX_MAP_BYTES, Copier, RawMap, filled
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.layout import Layout


class Storages:
    """Copies task and cgroup storage.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._storage = Layout(btf, "bpf_local_storage_map", {"buckets": "buckets", "log": "bucket_log"})
        self._bucket_bytes = Layout(btf, "bpf_local_storage_map_bucket", {}).size
        self._stored = Layout(
            btf, "bpf_local_storage_elem", {"next": "map_node.next", "storage": "local_storage"}
        )
        self._data = self._stored.offset("sdata.data")
        self._owner = Layout(btf, "bpf_local_storage", {"owner": "owner"})
        self._pid = Layout(btf, "task_struct", {"pid": "pid"})
        self.copiers: dict[str, Copier] = {"TASK_STORAGE": self._copy}
        try:
            self._cgroup = Layout(btf, "cgroup", {"kn": "kn"})
            self._node = Layout(btf, "kernfs_node", {"id": "id"})
            self.copiers["CGRP_STORAGE"] = self._copy
        except BtfError:
            pass

    def _copy(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        size = min(raw.row["value_size"], MAX_MAP_BYTES)
        raw.own_keys = raw.type_name == "CGRP_STORAGE"
        for element in self._elements(space, address, raw):
            if len(raw.entries) >= limit:
                raw.truncated = True
                return
            storage = self._stored.read(space, element)["storage"]
            owner = self._owner.read(space, storage)["owner"] if storage >= KERNEL_HALF else 0
            if owner >= KERNEL_HALF:
                key = self._key(space, owner, raw.own_keys)
                raw.entries.append((key, space.read(element + self._data, size)))

    def _key(self, space: AddressSpace, owner: int, cgroup: bool) -> bytes:
        if not cgroup:
            return int(self._pid.read(space, owner)["pid"]).to_bytes(4, "little", signed=True)
        node = self._cgroup.read(space, owner)["kn"]
        return int(self._node.read(space, node)["id"]).to_bytes(8, "little")

    def _elements(self, space: AddressSpace, address: int, raw: RawMap) -> Iterator[int]:
        table = self._storage.read(space, address)
        count = min(1 << min(table["log"], 32), MAX_BUCKETS)
        raw.truncated |= count < 1 << min(table["log"], 32)
        heads = space.read(table["buckets"], self._bucket_bytes * count)
        for node in filled(heads, self._bucket_bytes):
            for _ in range(MAX_CHAIN):
                if node < KERNEL_HALF:
                    break
                yield node
                node = self._stored.read(space, node)["next"]  # noqa: PLW2901 - the chain is the loop
            else:
                raw.truncated = True
