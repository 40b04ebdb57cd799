"""The kernel's xarray, as far as its id tables (idr) need it: a tree of 64-slot nodes, ids to pointers.

Mirrors ``struct xarray``, ``struct xa_node`` (include/linux/xarray.h) and ``struct idr`` (include/linux/idr.h). The two
lowest bits of an entry say what it is:

- 00: a pointer to an item, or NULL;
- 10: internal. Above 4096 it is a pointer to a node plus 2 (``xa_mk_node()``), so ``entry & 3 == 2`` and a mask of the
  low bits lead to the node; small ones are marks (``XA_ZERO_ENTRY``: an id that is reserved but has no item);
- x1: a small number in place of a pointer (``xa_mk_value()``), which id tables of the kernel do not use.

A node of shift ``s`` has in slot ``k`` what belongs to the ids from ``k << s`` on. A table of a single item with id 0
has no node: its head is the item.

How exact is this? The kernel changes these trees under a lock that is not taken here, and frees nodes after a grace
period of RCU. A walk may miss an item that comes or goes meanwhile. It ends in any case: shifts must fall from node to
node, so damaged trees have no circles; and a tree whose slots all lead to the same node is refused after `MAX_NODES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError

_SLOTS = 64
_MAX_SHIFT = 60
MAX_NODES = 1 << 14
"""Of one table, which is a million ids side by side."""


class IdTables:
    """Reads ``struct idr``.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._idr = Layout(btf, "idr", {"head": "idr_rt.xa_head", "base": "idr_base"})
        self._node = Layout(btf, "xa_node", {"shift": "shift"})
        self._slots = self._node.offset("slots")

    def entries(self, space: AddressSpace, idr: int, limit: int) -> Iterator[tuple[int, int]]:
        """Yield ``(id, pointer)`` in order of id, at most ``limit``; raises ``MemoryReadError``."""
        row = self._idr.read(space, idr)
        base = row["base"] or 0
        found = self._walk(space, row["head"], 0, _MAX_SHIFT + 1, count())
        for _, (index, pointer) in zip(range(limit), found, strict=False):
            yield base + index, pointer

    def find(self, space: AddressSpace, idr: int, index: int) -> int | None:
        """Find the pointer under an id, or None; raises ``MemoryReadError``."""
        row = self._idr.read(space, idr)
        index -= row["base"] or 0
        entry, parent_shift = row["head"], _MAX_SHIFT + 1
        while entry & 3 == 2 and entry >= KERNEL_HALF:
            node = entry & ~3
            shift = self._node.read(space, node)["shift"]
            if index < 0 or shift >= parent_shift or index >> shift >= _SLOTS:
                return None
            entry = space.u64(node + self._slots + 8 * (index >> shift))
            index &= (1 << shift) - 1
            parent_shift = shift
        return entry if entry >= KERNEL_HALF and not entry & 3 and index == 0 else None

    def _walk(
        self, space: AddressSpace, entry: int, index: int, parent_shift: int, nodes: Iterator[int]
    ) -> Iterator[tuple[int, int]]:
        if entry & 3 != 2:  # not a node: an item, a value, or nothing
            if entry >= KERNEL_HALF and not entry & 3:
                yield index, entry
            return
        node = entry & ~3
        if node < KERNEL_HALF:
            return
        if next(nodes) >= MAX_NODES:
            raise MemoryReadError("a table of ids has too many nodes", node)
        shift = self._node.read(space, node)["shift"]
        if shift >= parent_shift:
            return
        slots = memoryview(space.read(node + self._slots, 8 * _SLOTS)).cast("Q")
        for k, slot in enumerate(slots):
            if slot:
                yield from self._walk(space, slot, index + (k << shift), shift, nodes)
