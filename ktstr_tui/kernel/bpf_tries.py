"""BPF tries: longest-prefix-match tables.

Mirrors ``struct lpm_trie`` and ``struct lpm_trie_node`` (kernel/bpf/lpm_trie.c): a binary tree. A key is a
``struct bpf_lpm_trie_key``, the length of the prefix in bits and its data; a node holds the length as a member, then
the data and the value one behind the other. Nodes with LPM_TREE_NODE_FLAG_IM are forks without a value.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.bpf_map_raw import MAX_MAP_BYTES, Copier, RawMap
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout

_INTERMEDIATE = 1
_PREFIX_BYTES = 4


class Tries:
    """Copies tries.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._trie = Layout(btf, "lpm_trie", {"root": "root"})
        self._node = Layout(btf, "lpm_trie_node", {"prefixlen": "prefixlen", "flags": "flags"})
        self._child, self._data = self._node.offset("child"), self._node.offset("data")
        self.copiers: dict[str, Copier] = {"LPM_TRIE": self._copy}

    def _copy(self, space: AddressSpace, address: int, raw: RawMap, limit: int) -> None:
        width = max(0, raw.row["key_size"] - _PREFIX_BYTES)
        size = min(raw.row["value_size"], MAX_MAP_BYTES)
        seen: set[int] = set()
        waiting = [self._trie.read(space, address)["root"]]
        while waiting:
            node = waiting.pop()
            if node < KERNEL_HALF or node in seen:
                raw.truncated |= node in seen
                continue
            if len(raw.entries) >= limit or len(seen) >= 2 * limit:
                raw.truncated = True
                return
            seen.add(node)
            row = self._node.read(space, node)
            waiting += [space.u64(node + self._child + 8), space.u64(node + self._child)]
            if not row["flags"] & _INTERMEDIATE:
                data = space.read(node + self._data, width + size)
                key = row["prefixlen"].to_bytes(_PREFIX_BYTES, "little") + data[:width]
                raw.entries.append((key, data[width:]))
