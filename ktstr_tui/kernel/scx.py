"""The loaded sched_ext scheduler: ``struct scx_sched`` behind ``scx_root``, its state and its waiting tasks.

Mirrors ``struct scx_sched`` and ``struct scx_exit_info`` (kernel/sched/ext_internal.h; kernel/sched/ext.c before commit
0c2b8356e430 ("sched_ext: Move internal type and accessor definitions to ext_internal.h") (in v6.18)). Kernels moved
things from globals into the scheduler over time: a member counts when BTF has it, the global symbol when not. The
commits are cited where the branches are.

How exact is this? The scheduler is freed after it was ejected, and its memory is then used for something else; so its
name must be printable, and `SampleReader` reads ``scx_root`` before and after. The counters of events are summed over
CPUs that go on counting.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn, text

DEFAULT_TIMEOUT_MS = 30_000.0
"""``SCX_WATCHDOG_MAX_TIMEOUT``: what the kernel uses when the scheduler asks for nothing."""
_SCHED = {
    "name": "ops.name",
    "timeout_ms": "ops.timeout_ms",
    "ops_flags": "ops.flags",
    "watchdog_timeout": "watchdog_timeout",
    "exit_kind": "exit_kind.counter",
    "exit_info": "exit_info",
    "aborting": "aborting",
    "bypass_depth": "bypass_depth",
    "pcpu": "pcpu",
    "event_stats_cpu": "event_stats_cpu",
}
_EXIT = {
    "kind": "kind",
    "exit_code": "exit_code",
    "cpu": "exit_cpu",
    "reason": "reason",
    "msg": "msg",
    "dump": "dump",
}
_MAX_TEXT_BYTES = 1024
MAX_DUMP_BYTES = 1 << 16
"""Of ``ei->dump`` that are read; the kernel's default size is half of it (``SCX_EXIT_DUMP_DFL_LEN``)."""
_DUMP_CUT = "~~~~ TRUNCATED ~~~~"
"""What the kernel writes at the end of a dump that did not fit into its buffer."""


class SchedState(NamedTuple):
    """What one look at ``struct scx_sched`` gives, in the kernel's own units."""

    address: int
    name: str
    exit_kind: int
    ops_flags: int | None
    timeout_jiffies: int | None
    timeout_ms: int
    aborting: bool | None
    bypass_depth: int | None
    pcpu: int | None
    event_stats_cpu: int | None


class ExitText(NamedTuple):
    """``struct scx_exit_info``, which the kernel fills after it has set ``exit_kind``."""

    kind: int
    exit_code: int
    reason: str | None
    message: str | None
    cpu: int | None = None
    """The CPU that wrote the exit kind, where this kernel keeps it."""


class Scx:
    """Reads the scheduler.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        cpus: Its CPUs.

    Raises:
        BtfError: If this kernel has no sched_ext.
    """

    def __init__(self, btf: Btf, symbols: Symbols, cpus: Cpus) -> None:
        self._cpus = cpus
        self.root_slot = symbols.find("scx_root")
        # scx_root came with Linux kernel commit 48e126777386 ("sched_ext: Introduce scx_sched") (in v6.16). Before
        # that, the scheduler's state is in dozens of globals, which are not read here.
        if self.root_slot is None:
            raise BtfError("this kernel has no scx_root: it was built without sched_ext, or before scx_sched")
        self._sched = Layout(btf, "scx_sched", _SCHED)
        self.exit_kind_offset = self._sched.offset("exit_kind")
        self._exit = Layout(btf, "scx_exit_info", _EXIT)
        self._state = symbols.find("scx_enable_state_var")
        self._enable_seq = symbols.find("scx_enable_seq")
        self._timeout = symbols.find("scx_watchdog_timeout")
        self._aborting = symbols.find("scx_aborting")
        self._bypass_depth = symbols.find("scx_bypass_depth")
        self._states = _names(btf, "scx_enable_state", "SCX_")
        self._exit_kinds = _names(btf, "scx_exit_kind", "SCX_EXIT_")
        self._events, self._events_offset, self._events_static = _event_places(btf, symbols)

    def root(self, space: AddressSpace) -> int | None:
        """Read the address of the loaded scheduler; None when there is none."""
        assert self.root_slot is not None
        pointer = space.u64(self.root_slot)
        if pointer and pointer < KERNEL_HALF:
            raise Torn(f"scx_root is {pointer:#x}")
        return pointer or None

    def exit_kind(self, space: AddressSpace, sched: int) -> int:
        """``sch->exit_kind``."""
        return space.u32(sched + self.exit_kind_offset)

    def exit_kind_name(self, kind: int) -> str:
        """Return ``ERROR_STALL`` for 1026, in this kernel's words; the number for an unknown one."""
        return self._exit_kinds.get(kind, str(kind))

    def state(self, space: AddressSpace) -> str | None:
        """``disabled``, ``enabling``, ``enabled`` or ``disabling``; None when this kernel has no such variable."""
        if self._state is None:
            return None
        value = space.u32(self._state)
        return self._states[value].lower() if value in self._states else str(value)

    def enable_seq(self, space: AddressSpace) -> int | None:
        """``scx_enable_seq``."""
        return None if self._enable_seq is None else space.u64(self._enable_seq)

    def read(self, space: AddressSpace, sched: int) -> SchedState:
        """Read the scheduler's own struct.

        Raises:
            Torn: If this is no ``struct scx_sched`` (freed meanwhile).
            MemoryReadError: If the pointer led nowhere.
        """
        row = self._sched.read(space, sched)
        name = text(row["name"])
        if not name or not name.isprintable():
            raise Torn("the scheduler's name is not printable")
        # Since Linux kernel commit cde94c032b32 ("sched_ext: Make watchdog sub-sched aware") (in v7.1) each scheduler
        # has its own timeout. Before that, it is the global scx_watchdog_timeout.
        timeout = row["watchdog_timeout"]
        if timeout is None and self._timeout is not None:
            timeout = space.u64(self._timeout)
        return SchedState(
            address=sched,
            name=name,
            exit_kind=row["exit_kind"],
            ops_flags=row["ops_flags"],
            timeout_jiffies=timeout if timeout is not None and 0 < timeout < MASK64 >> 1 else None,
            timeout_ms=row["timeout_ms"] or 0,
            aborting=self._flag(space, row),
            bypass_depth=self._depth(space, row),
            pcpu=row["pcpu"],
            event_stats_cpu=row["event_stats_cpu"],
        )

    def _flag(self, space: AddressSpace, row: dict[str, Any]) -> bool | None:
        # Since Linux kernel commit c1743da43cf5 ("sched_ext: Move aborting flag to per-scheduler field") (in v7.1) it
        # is a member. Before that, from commit a69040ed57f5 ("sched_ext: Simplify breather mechanism with scx_aborting
        # flag") (in v6.19) on, it is the global scx_aborting.
        if row["aborting"] is not None:
            return bool(row["aborting"])
        return None if self._aborting is None else space.read(self._aborting, 1) != b"\0"

    def _depth(self, space: AddressSpace, row: dict[str, Any]) -> int | None:
        # Since Linux kernel commit 5c8d98a1b4de ("sched_ext: Move bypass state into scx_sched") (in v7.1) it is a
        # member. Before that, it is the global scx_bypass_depth.
        if row["bypass_depth"] is not None:
            return int(row["bypass_depth"])
        if self._bypass_depth is None:
            return None
        return int.from_bytes(space.read(self._bypass_depth, 4), "little", signed=True)

    def events(self, space: AddressSpace, state: SchedState) -> dict[str, int] | None:
        """Read ``SCX_EV_…`` summed over all CPUs; None where this kernel keeps none."""
        if self._events is None:
            return None
        base = self._events_static or (state.event_stats_cpu if state.event_stats_cpu else state.pcpu)
        if not base:
            return None
        sums: dict[str, int] = {}
        for cpu in range(self._cpus.count):
            row = self._events.read(space, self._cpus.per_cpu(base, cpu) + self._events_offset)
            for name, value in row.items():
                sums[name] = sums.get(name, 0) + value
        return sums

    def dump(self, space: AddressSpace, sched: int) -> tuple[str, str | None]:
        """Read the debug dump that the kernel makes of an error, with what ``ops.dump()`` wrote; empty before.

        Args:
            space: Where to read.
            sched: The scheduler.

        Returns:
            The text, and why it is not the whole dump; None when it is.
        """
        info = self._sched.read(space, sched)["exit_info"]
        address = self._exit.read(space, info)["dump"] if info else 0
        if not address:
            return "", None
        found = space.string(address, MAX_DUMP_BYTES)
        if _DUMP_CUT in found[-64:]:
            return found, "the kernel's buffer was too small: ops.exit_dump_len sets its size"
        return found, f"the first {MAX_DUMP_BYTES} bytes" if len(found) >= MAX_DUMP_BYTES else None

    def exit_text(self, space: AddressSpace, sched: int) -> ExitText | None:
        """Read the exit info; None when there is none. Its texts are None until the kernel has set them."""
        info = self._sched.read(space, sched)["exit_info"]
        if not info:
            return None
        row = self._exit.read(space, info)
        reason = space.string(row["reason"], _MAX_TEXT_BYTES) if row["reason"] else None
        message = space.string(row["msg"], _MAX_TEXT_BYTES) if row["msg"] else None
        cpu = row["cpu"] if row["cpu"] is not None and row["cpu"] >= 0 else None
        return ExitText(row["kind"], row["exit_code"], reason, message or None, cpu)


def _names(btf: Btf, enum: str, prefix: str) -> dict[int, str]:
    found = btf.find(enum, Kind.ENUM, Kind.ENUM64)
    if found is None:
        return {}
    return {value: name.removeprefix(prefix) for name, value in btf.enumerators(found)}


def _event_places(btf: Btf, symbols: Symbols) -> tuple[Layout | None, int, int | None]:
    """Return the layout of the event counters, their offset in a per-CPU record, and their static address if any."""
    # Since Linux kernel commit bcb7c2305682 ("sched_ext: Put event_stats_cpu in struct scx_sched_pcpu") (in v6.18) they
    # are in the scheduler's per-CPU part. Before that, from commit c201ea1578d3 ("sched_ext: Move event_stats_cpu into
    # scx_sched") (in v6.16) on, "event_stats_cpu" of the scheduler leads to a per-CPU record of their own; and before
    # that, it is a static per-CPU variable.
    stats = btf.find("scx_event_stats", Kind.STRUCT)
    if stats is None:
        return None, 0, None
    layout = Layout(btf, "scx_event_stats", {m.name: m.name for m in btf.members(stats) if m.name})
    pcpu = btf.find("scx_sched_pcpu", Kind.STRUCT)
    place = None if pcpu is None else btf.place(pcpu, "event_stats")
    if place is not None:
        return layout, place.bit_offset // 8, None
    sched = btf.find("scx_sched", Kind.STRUCT)
    if sched is not None and btf.place(sched, "event_stats_cpu") is not None:
        return layout, 0, None
    static = symbols.find("event_stats_cpu")
    return (None, 0, None) if static is None else (layout, 0, static)
