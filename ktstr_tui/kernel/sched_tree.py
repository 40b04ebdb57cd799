"""Sub-schedulers: the tree of ``struct scx_sched`` below ``scx_root``, each with a cgroup of its own.

A scheduler that has ``ops.sub_attach()`` lets others schedule the tasks of cgroups below its own. Each has its own
DSQs, its own watchdog timeout and its own ``exit_kind``: it can be ejected while its parent stays, and its tasks then
go back to the parent. When a parent goes, its children leave with ``SCX_EXIT_PARENT``.

Mirrors ``struct scx_sched`` (kernel/sched/ext_internal.h) of kernels with CONFIG_EXT_SUB_SCHED: ``children`` is the
head of a list of ``sibling``, ``level`` is 0 for the root, ``cgrp_path`` a string, and ``sub_attached`` is set when the
parent has accepted the child. Kernels without the member ``children`` have no sub-schedulers.

How exact is this? Children are linked and unlinked while others run, so every step checks that the next entry points
back to the last one and that no scheduler comes twice. A scheduler is linked before its ``ops.init()`` and unlinked
when its tasks are back with the parent; its memory is freed only when the program that attached it lets go of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.scx import SchedState, Scx
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn
from ktstr_tui.model.sample import SubState

MAX_SUBS = 256
"""Sub-schedulers that are read; a tree that has more is cut."""
_MAX_PATH_BYTES = 512
_TREE = {
    "level": "level",
    "next": "sibling.next",
    "prev": "sibling.prev",
    "first": "children.next",
    "cgroup": "cgrp_path",
    "attached": "sub_attached",
}


class SubSched(NamedTuple):
    """One sub-scheduler."""

    state: SchedState
    parent: int
    """Address of the scheduler that it is below."""
    level: int
    """1 for a child of the root."""
    cgroup: str
    """Path of its cgroup; its address where that cannot be read."""
    attached: bool | None
    """Whether the parent's ``ops.sub_attach()`` accepted it."""

    @property
    def phase(self) -> SubState:
        """How far it is, in the words of ``enum scx_enable_state``, which the kernel keeps for the root alone."""
        if self.state.exit_kind:
            return "disabling"
        return "enabling" if self.attached is False else "enabled"


class Subs(NamedTuple):
    """The tree below the root, parents before their children."""

    found: Sequence[SubSched] = ()
    cut: bool = False
    """Whether there are more, or the rest could not be followed."""

    def cgroups(self) -> dict[int, str]:
        """Return the cgroup of each by its address."""
        return {sub.state.address: sub.cgroup for sub in self.found}


NO_SUBS = Subs()


def sub_of(sched: int | None, root: int | None, cgroups: dict[int, str]) -> str | None:
    """Return the cgroup of the sub-scheduler that something belongs to; None for the root's and for nobody's.

    Args:
        sched: The pointer to its scheduler; None where this kernel has none.
        root: The root scheduler.
        cgroups: Those of the sub-schedulers. One that is not among them is called by its address.
    """
    return None if not sched or sched == root else cgroups.get(sched, f"{sched:#x}")


class SchedTree:
    """Reads the tree.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        scx: Reads each scheduler.
    """

    def __init__(self, btf: Btf, symbols: Symbols, scx: Scx) -> None:
        self._scx = scx
        self._row = Layout(btf, "scx_sched", _TREE)
        self._children = self._row.find_offset("children")
        self._sibling = self._row.find_offset("sibling") or 0
        self._sub_attach = self._row.find_offset("ops.sub_attach")
        head, previous = symbols.find("scx_sched_all"), Layout(btf, "list_head", {}).find_offset("prev")
        self.newest_slot = None if self._children is None or head is None else head + (previous or 0)
        """Address of the pointer to the scheduler that was linked last; None where there are no sub-schedulers."""

    def accepts(self, space: AddressSpace, sched: int) -> bool:
        """Whether a scheduler lets others attach below it."""
        if self._children is None:
            return False
        return self._sub_attach is None or space.u64(sched + self._sub_attach) != 0

    def read(
        self, space: AddressSpace, root: int | None, limit: int = MAX_SUBS, *, frozen: bool = False
    ) -> Subs:
        """Read all schedulers below the root.

        Args:
            space: Where to read.
            root: The root scheduler.
            limit: Most schedulers to read.
            frozen: The guest does not run: a list that is broken then was stopped in the middle of a change, and is
                given up to there, as cut.

        Raises:
            Torn: If the tree changed meanwhile, or is none.
            MemoryReadError: If a pointer led nowhere.
        """
        if self._children is None or root is None:
            return NO_SUBS
        found: dict[int, SubSched] = {}
        try:
            cut = self._walk(space, root, self._children, found, limit)
        except (Torn, MemoryReadError):
            if not frozen:
                raise
            cut = True
        return Subs(tuple(found.values()), cut)

    def _walk(
        self, space: AddressSpace, root: int, children: int, found: dict[int, SubSched], limit: int
    ) -> bool:
        """Collect the tree in the kernel's order; whether there is more than the limit."""
        head = root + children
        pending = [(root, 0, head, space.u64(head))]
        while pending:
            parent, level, last, node = pending.pop()
            head = parent + children
            if node == head:
                continue
            if len(found) >= limit:
                return True
            sched = node - self._sibling
            row = self._entry(space, node, last)
            if sched == root or sched in found:
                raise Torn("the tree of schedulers has a loop")
            if row["level"] is not None and row["level"] != level + 1:
                raise Torn(f"a scheduler of level {row['level']} is below one of level {level}")
            found[sched] = self._sub(space, sched, parent, row, level + 1)
            pending.append((parent, level, node, row["next"]))
            pending.append((sched, level + 1, sched + children, row["first"]))
        return False

    def _entry(self, space: AddressSpace, node: int, last: int) -> dict[str, Any]:
        if node < KERNEL_HALF:
            raise Torn(f"a list of schedulers leads to {node:#x}")
        row = self._row.read(space, node - self._sibling)
        if row["prev"] != last:
            raise Torn("a list of schedulers changed while it was read")
        return row

    def _sub(self, space: AddressSpace, sched: int, parent: int, row: dict[str, Any], level: int) -> SubSched:
        attached = None if row["attached"] is None else bool(row["attached"])
        state = self._scx.read(space, sched)
        return SubSched(state, parent, level, _cgroup(space, row["cgroup"], sched), attached)


def _cgroup(space: AddressSpace, pointer: int | None, sched: int) -> str:
    try:
        path = space.string(pointer, _MAX_PATH_BYTES) if pointer else ""
    except MemoryReadError:
        path = ""
    return path or f"{sched:#x}"
