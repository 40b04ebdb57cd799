"""The scheduler's BPF programs, how often and how long they ran, and the maps that they use.

Mirrors ``struct bpf_prog`` and ``struct bpf_prog_aux`` (include/linux/bpf.h), linked from ``prog_idr``
(kernel/bpf/syscall.c). A scheduler is a set of programs of type ``STRUCT_OPS``; what else was loaded with them is known
by the maps that it shares with them.

While ``bpf_stats_enabled_key`` is on (the sysctl ``kernel.bpf_stats_enabled``), the kernel reads its clock before and
after each run of a program and adds to ``struct bpf_prog_stats`` (include/linux/filter.h) of that CPU. That costs a
run of a program some tens of nanoseconds, so it is off unless somebody asks.

How exact is this? The counters of a CPU are read while it goes on: a run may be in one of them and not yet in another.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.xarray import IdTables
from ktstr_tui.model.scheduler_values import MAX_PROGRAMS, BpfProgram

MAX_LISTED = 4096
"""Programs of the whole guest that are looked at."""
MAX_USED_MAPS = 64
"""Of one program."""
_COUNTERS = ("cnt", "nsecs", "misses")
_STRUCT_OPS = "BPF_PROG_TYPE_STRUCT_OPS"


class Loaded(NamedTuple):
    """The programs of what is loaded as a scheduler."""

    programs: tuple[BpfProgram, ...]
    more: int
    """Further ones that were not read."""
    maps: tuple[int, ...]
    """Addresses of the maps that they use, each once."""


class BpfPrograms:
    """Reads programs of one kernel.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        cpus: Its CPUs.

    Raises:
        BtfError: This kernel keeps no such programs.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus) -> None:
        types = btf.find("bpf_prog_type", Kind.ENUM)
        kinds = {} if types is None else dict(btf.enumerators(types))
        self._idr = symbols.find("prog_idr")
        if _STRUCT_OPS not in kinds or self._idr is None:
            raise BtfError("this kernel has no BPF programs for schedulers")
        self._struct_ops, self._cpus, self._ids = kinds[_STRUCT_OPS], cpus, IdTables(btf)
        self._prog = Layout(btf, "bpf_prog", {"type": "type", "aux": "aux", "stats": "stats"})
        paths = {"id": "id", "name": "name", "maps": "used_maps", "count": "used_map_cnt"}
        self._aux = Layout(btf, "bpf_prog_aux", paths)
        stats = Layout(btf, "bpf_prog_stats", {})
        self._counters = [stats.offset(it) for it in _COUNTERS]
        self._enabled = symbols.find("bpf_stats_enabled_key")
        self._key = Layout(btf, "static_key", {"enabled": "enabled.counter"})

    def counted(self, space: AddressSpace) -> bool | None:
        """Read whether the kernel counts runs; None when it does not say. Raises ``MemoryReadError``."""
        if self._enabled is None:
            return None
        return bool(self._key.read(space, self._enabled)["enabled"] > 0)

    def read(self, space: AddressSpace, *, counted: bool) -> Loaded:
        """Read the programs of the scheduler; raises ``MemoryReadError``.

        Args:
            space: Where to read.
            counted: Whether their counters are worth reading.
        """
        assert self._idr is not None
        rows = [self._row(space, it) for _, it in self._ids.entries(space, self._idr, MAX_LISTED)]
        maps = dict.fromkeys(one for it in rows if it["type"] == self._struct_ops for one in it["used"])
        own = [it for it in rows if it["type"] == self._struct_ops or not maps.keys().isdisjoint(it["used"])]
        programs = [self._program(space, it, counted) for it in own[:MAX_PROGRAMS]]
        return Loaded(tuple(programs), len(own) - len(programs), tuple(maps))

    def _row(self, space: AddressSpace, address: int) -> dict[str, Any]:
        row = self._prog.read(space, address)
        aux = self._aux.read(space, row["aux"])
        count = min(aux["count"], MAX_USED_MAPS) if aux["maps"] >= KERNEL_HALF else 0
        used = memoryview(space.read(aux["maps"], 8 * count)).cast("Q") if count else ()
        return {**row, **aux, "used": [it for it in used if it >= KERNEL_HALF]}

    def _program(self, space: AddressSpace, row: dict[str, Any], counted: bool) -> BpfProgram:
        name = text(row["name"])
        if not counted or not row["stats"]:
            return BpfProgram(id=row["id"], name=name)
        sums = [0] * len(self._counters)
        for cpu in range(self._cpus.count):
            stats = self._cpus.per_cpu(row["stats"], cpu)
            for at, offset in enumerate(self._counters):
                sums[at] += space.u64(stats + offset)
        return BpfProgram(id=row["id"], name=name, runs=sums[0], run_ns=sums[1], misses=sums[2])
