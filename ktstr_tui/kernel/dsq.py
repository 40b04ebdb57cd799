"""Dispatch queues: the ones that the scheduler made, and those that the kernel keeps for itself.

A user's queue lives in the scheduler's hash table under its id. The built-in ones share ids, so they are known by where
they are: each CPU's local queue in its runqueue, bypass queues in the runqueue or in the scheduler's per-CPU part,
global queues one per NUMA node. Which of these places exist differs between kernels and is asked of BTF.

Mirrors ``struct scx_dispatch_q`` and ``struct scx_dsq_list_node`` (include/linux/sched/ext.h), ``struct scx_sched``
(kernel/sched/ext_internal.h), and ``struct bucket_table`` with its chains (include/linux/rhashtable.h):

- a bucket is a pointer to the first element, and bit 0 of it is the lock of the bucket, so it is masked out;
- a chain ends in an odd pointer (``RHT_NULLS_MARKER``), not in NULL;
- while the table grows, ``future_tbl`` leads to the next one, and each element is in one of the two;
- a table that could not be allocated in one piece is *nested* (``nest`` is not 0): not walked, and cut.

With sub-schedulers (see `sched_tree`) each has a table of its own and global and bypass queues of its own, and ids that
are in use elsewhere. A queue knows its scheduler (``dsq->sched``) and is called ``0x77 of /cgroup``; the root's are
called by their id alone, as on kernels with one scheduler.

A queue's own list is circular and may hold cursors of BPF iterators between its tasks
(``SCX_DSQ_LNODE_ITER_CURSOR``).

How exact is this? Queues are re-linked thousands of times a second. A walk that finds another number of queues than the
table counts is torn, as is a chain that leads nowhere. ``nr`` is read with the queue's own struct, not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn

NO_SUBS: Mapping[int, str] = {}
MAX_BUCKETS = 65536
MAX_CHAIN = 1024
MAX_NODES = 1024
MAX_TABLES = 4
_ITERATOR_CURSOR = 1
"""``SCX_DSQ_LNODE_ITER_CURSOR``: a BPF iterator's place holder in the list, not a task."""


class DsqRef(NamedTuple):
    """Where a queue is and how it is called."""

    address: int
    label: str
    origin: str
    sub: str | None = None
    """Cgroup of the sub-scheduler whose queue it is; None for the root's, and for local queues."""


@dataclass(frozen=True, slots=True)
class BuiltinDsqs:
    """The kernel's own queues under a scheduler and its sub-schedulers."""

    listed: tuple[DsqRef, ...]
    """Global and bypass queues."""
    local: tuple[DsqRef, ...]
    by_address: dict[int, DsqRef]
    subs: Mapping[int, str] = field(default_factory=dict)
    """Cgroups of the sub-schedulers, by address."""


class Dsqs:
    """Finds and reads dispatch queues.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        cpus: Its CPUs.
        space: Its memory; used here only for what is fixed at boot.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus, space: AddressSpace) -> None:
        self._cpus = cpus
        paths = {
            "nr": "nr",
            "seq": "seq",
            "id": "id",
            "hash_next": "hash_node.next",
            "first": "list.next",
            "sched": "sched",
        }
        self.layout = Layout(btf, "scx_dispatch_q", paths)
        self._hash_node = self.layout.offset("hash_node")
        self._list = self.layout.offset("list")
        self._sched = Layout(
            btf, "scx_sched", {"table": "dsq_hash.tbl", "elements": "dsq_hash.nelems.counter"}
        )
        self._table = Layout(btf, "bucket_table", {"size": "size", "nest": "nest", "future": "future_tbl"})
        self._buckets = self._table.offset("buckets")
        nodes = {"next": "scx.dsq_list.node.next", "flags": "scx.dsq_list.flags", "pid": "pid"}
        self._task = Layout(btf, "task_struct", nodes)
        self._task_node = self._task.offset("scx.dsq_list.node")
        self._cursor = Layout(btf, "scx_dsq_list_node", {"next": "node.next", "flags": "flags"})
        self._local = cpus.rq.offset("scx.local_dsq")
        # Since Linux kernel commit ff06f727a941 ("sched_ext: Move bypass_dsq into scx_sched_pcpu") (in v7.1) bypass
        # queues are in the scheduler's per-CPU part. Before that, from commit 61debc251c1c ("sched_ext: Use per-CPU
        # DSQs instead of per-node global DSQs in bypass mode") (in v6.19) on, they are in the runqueue; older kernels
        # bypass through the global queues.
        self._rq_bypass = cpus.rq.find_offset("scx.bypass_dsq")
        self._pcpu_bypass = _offset_in(btf, "scx_sched_pcpu", "bypass_dsq")
        self._pnode_global = _offset_in(btf, "scx_sched_pnode", "global_dsq")
        # Since Linux kernel commit d4ae868c6b7d ("sched_ext: Wrap global DSQs in per-node structure") (in v7.1) the
        # array of global queues is "pnode", of structs that hold a queue. Before that, from commit 8409b800a0b1
        # ("sched_ext: Move global_dsqs into scx_sched") (in v6.16) on, it is "global_dsqs", of queues.
        members = Layout(btf, "scx_sched", {})
        self._sched_pcpu = members.find_offset("pcpu")
        self._sched_pnode = members.find_offset("pnode")
        self._sched_globals = members.find_offset("global_dsqs")
        ids = symbols.find("nr_node_ids")
        self._nodes = 1 if ids is None else min(max(space.u32(ids), 1), MAX_NODES)

    def identity(
        self, space: AddressSpace, sched: int | None, subs: Mapping[int, str] = NO_SUBS
    ) -> tuple[object, ...]:
        """Return what differs when other schedulers are loaded, at the same addresses or not.

        A scheduler and its array of nodes often come to lie where the ones before them were, and the queues of the
        nodes elsewhere, so it is the queues that are compared.
        """
        if sched is None:
            return ()
        return (
            tuple(subs.items()),
            *((one, self._pcpu(space, one), *self._nodes_of(space, one)) for one in (sched, *subs)),
        )

    def builtin(
        self, space: AddressSpace, sched: int | None, subs: Mapping[int, str] = NO_SUBS
    ) -> BuiltinDsqs:
        """Find the kernel's own queues; without a scheduler only the local ones.

        Args:
            space: Where to read.
            sched: The root scheduler.
            subs: Cgroups of the sub-schedulers, by address.
        """
        local, listed = list[DsqRef](), list[DsqRef]()
        for cpu in range(self._cpus.count):
            rq = self._cpus.rq_address(cpu)
            local.append(DsqRef(rq + self._local, f"local cpu {cpu}", f"local cpu {cpu}"))
        for one in () if sched is None else (sched, *subs):
            cgroup = subs.get(one)
            for ref in (*self._global(space, one), *self._bypass(space, one)):
                listed.append(ref if cgroup is None else of_sub(ref, cgroup))
        by_address = {ref.address: ref for ref in (*listed, *local)}
        return BuiltinDsqs(tuple(listed), tuple(local), by_address, subs)

    def _global(self, space: AddressSpace, sched: int) -> Iterator[DsqRef]:
        for node, at in enumerate(self._nodes_of(space, sched)):
            if at:
                yield DsqRef(at, f"global node {node}", f"global node {node}")

    def _nodes_of(self, space: AddressSpace, sched: int) -> list[int]:
        """Return the addresses of the global queues by node; 0 for a node without one."""
        per_node, inner = (
            (self._sched_pnode, self._pnode_global)
            if self._sched_pnode is not None
            else (self._sched_globals, 0)
        )
        if per_node is None or inner is None:
            return []
        array = space.u64(sched + per_node)
        if array < KERNEL_HALF:
            return []
        raw = memoryview(space.read(array, 8 * self._nodes)).cast("Q")
        return [at + inner if at >= KERNEL_HALF else 0 for at in raw]

    def _pcpu(self, space: AddressSpace, sched: int) -> int:
        """Return the per-CPU pointer of the scheduler's part that has bypass queues; 0 where there is none."""
        if self._pcpu_bypass is None or self._sched_pcpu is None:
            return 0
        return space.u64(sched + self._sched_pcpu)

    def _bypass(self, space: AddressSpace, sched: int) -> Iterator[DsqRef]:
        pcpu = self._pcpu(space, sched)
        for cpu in range(self._cpus.count):
            if pcpu and self._pcpu_bypass is not None:
                at = self._cpus.per_cpu(pcpu, cpu) + self._pcpu_bypass
            elif self._rq_bypass is not None:
                at = self._cpus.rq_address(cpu) + self._rq_bypass
            else:
                return
            yield DsqRef(at, f"bypass cpu {cpu}", f"bypass cpu {cpu}")

    def name(self, space: AddressSpace, dsq: int, builtin: BuiltinDsqs) -> tuple[str | None, int | None]:
        """Return label and id of the queue at address ``dsq``; None and None for address 0."""
        if not dsq:
            return None, None
        row = self.layout.read(space, dsq)
        number, known = int(row["id"]), builtin.by_address.get(dsq)
        return (known or user_ref(dsq, row, builtin.subs.get(row["sched"]))).label, number

    def user(
        self, space: AddressSpace, sched: int, limit: int, *, frozen: bool = False
    ) -> tuple[list[tuple[int, dict[str, Any]]], bool]:
        """Read the queues of the scheduler's hash table, as (address, values), and whether the walk was cut.

        Args:
            space: Where to read.
            sched: The scheduler.
            limit: Most queues to read.
            frozen: The guest does not run, so a wrong count means that it stopped in the middle of a
                change.

        Raises:
            Torn: If the table is not a table, or holds other queues than it counts.
            MemoryReadError: If a pointer led nowhere.
        """
        head = self._sched.read(space, sched)
        found: dict[int, dict[str, Any]] = {}
        table, cut = head["table"], False
        for _ in range(MAX_TABLES):
            if not table:
                break
            row = self._table.read(space, table)
            cut |= bool(row["nest"])
            for bucket in () if row["nest"] else self._heads(space, table, row["size"]):
                if not self._chain(space, bucket, found, limit):
                    return list(found.items()), True
            table = row["future"]
        if not cut and len(found) != head["elements"]:
            if not frozen:
                raise Torn(f"{len(found)} queues found in a table of {head['elements']}")
            cut = True
        return sorted(found.items(), key=lambda pair: int(pair[1]["id"])), cut

    def _heads(self, space: AddressSpace, table: int, size: int) -> Iterator[int]:
        """First elements of the non-empty buckets; bit 0 of a bucket is its lock."""
        if not 0 < size <= MAX_BUCKETS:
            raise Torn(f"hash table of {size} buckets")
        raw = memoryview(space.read(table + self._buckets, 8 * size)).cast("Q")
        return (bucket & ~1 for bucket in raw if bucket & ~1)

    def _chain(self, space: AddressSpace, node: int, found: dict[int, dict[str, Any]], limit: int) -> bool:
        """Collect one chain, which ends in an odd pointer; False when ``limit`` is reached."""
        for _ in range(MAX_CHAIN):
            if node & 1:
                return True
            if node < KERNEL_HALF:
                raise Torn(f"hash chain leads to {node:#x}")
            if len(found) >= limit:
                return False
            address = node - self._hash_node
            row = found[address] = self.layout.read(space, address)
            node = row["hash_next"]
        raise Torn(f"hash chain of more than {MAX_CHAIN}")

    def members(self, space: AddressSpace, dsq: int, limit: int) -> tuple[list[int], bool]:
        """Return the addresses of the tasks in a queue, first to run first, and whether the walk was cut.

        A chain that leads nowhere ends the walk as cut.
        """
        head = dsq + self._list
        node, tasks = space.u64(head), list[int]()
        for _ in range(limit):
            if node == head:
                return tasks, False
            if node < KERNEL_HALF:
                return tasks, True
            entry = self._cursor.read(space, node)
            if not entry["flags"] & _ITERATOR_CURSOR:
                tasks.append(node - self._task_node)
            node = entry["next"]
        return tasks, node != head

    def first_local(self, space: AddressSpace, cpu: int) -> int | None:
        """Return the address of the first task in a CPU's local queue; None for an empty one."""
        tasks, _ = self.members(space, self._cpus.rq_address(cpu) + self._local, 1)
        return tasks[0] if tasks else None


def of_sub(ref: DsqRef, cgroup: str) -> DsqRef:
    """Return the queue, called as one of a sub-scheduler."""
    return ref._replace(label=f"{ref.label} of {cgroup}", sub=cgroup)


def user_ref(address: int, row: Mapping[str, Any], cgroup: str | None = None) -> DsqRef:
    """Return how a user's queue is called.

    Args:
        address: Where it is.
        row: Its values.
        cgroup: Of the sub-scheduler whose queue it is; None for the root's.
    """
    ref = DsqRef(address, f"{row['id']:#x}", "user")
    return ref if cgroup is None else of_sub(ref, cgroup)


def _offset_in(btf: Btf, struct_name: str, path: str) -> int | None:
    try:
        return Layout(btf, struct_name, {}).find_offset(path)
    except BtfError:
        return None
