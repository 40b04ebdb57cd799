"""Per-CPU state: ``struct rq``, what runs on it, and where each CPU keeps its share of per-CPU memory.

Mirrors ``struct rq`` and ``struct scx_rq`` of kernel/sched/sched.h. A per-CPU variable has one address, that of the
template in the image; ``__per_cpu_offset[cpu]`` is what has to be added to get a CPU's own copy
(include/asm-generic/percpu.h).

How exact is this? ``rq->clock`` is brought up to date by the scheduler, not by reading it: on an idle CPU it is as old
as the last switch. ``nr_running`` and ``curr`` are read without the runqueue's lock; two looks around the current task
must agree, so a sample is of one moment or is torn.
"""

from __future__ import annotations

from typing import Any

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.layout import Layout, Paths
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import Torn, plausible_depth, plausible_pid, text
from ktstr_tui.model.sample import CpuSample

MAX_CPUS = 8192
_CLASSES = ("ext", "fair", "rt", "dl", "stop", "idle")
_RQ: Paths = {
    "nr_running": "nr_running",
    "scx_nr_running": "scx.nr_running",
    "flags": "scx.flags",
    # Set while a higher class (RT, deadline) has the CPU; there in all kernels tried (6.19.14 and 7.2.12).
    "cpu_released": "scx.cpu_released",
    "ops_qseq": "scx.ops_qseq",
    "nr_immed": "scx.nr_immed",
    # Since Linux kernel commit 987e00035c0e ("sched_ext: Rename pnt_seq to kick_sync") (in v6.19) it is named
    # "kick_sync". Before that, it is named "pnt_seq".
    "kick_sync": ("scx.kick_sync", "scx.pnt_seq"),
    "local_dsq_nr": "scx.local_dsq.nr",
    "nr_switches": "nr_switches",
    "clock": "clock",
    "curr": "curr",
    "idle": "idle",
}
_TICK = {"flags": "flags", "tick_stopped": "tick_stopped"}
_TS_FLAG_STOPPED = 1 << 1
"""A macro of kernel/time/tick-sched.h, so BTF does not know it."""
_SAME = ("curr", "nr_running", "scx_nr_running", "local_dsq_nr")
_CURR = {"pid": "pid", "comm": "comm", "sched_class": "sched_class", "on_cpu": "on_cpu"}


class Cpus:
    """Reads runqueues.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        space: Its memory; used here only for what is fixed at boot.
    """

    def __init__(self, btf: Btf, symbols: Symbols, space: AddressSpace) -> None:
        self.rq = Layout(btf, "rq", _RQ)
        self.curr = Layout(btf, "task_struct", _CURR)
        self._classes = {symbols.find(f"{name}_sched_class"): name for name in _CLASSES}
        self._runqueues = symbols.address("runqueues")
        self._ticks = symbols.find("tick_cpu_sched")
        has_ticks = btf.find("tick_sched", Kind.STRUCT) is not None
        self._tick = Layout(btf, "tick_sched", _TICK) if has_ticks else None
        self._online = symbols.find("__cpu_online_mask")
        self.count = _possible_cpus(symbols, space)
        offsets = symbols.find("__per_cpu_offset")
        self._offsets = (
            [0] if offsets is None else [space.u64(offsets + 8 * cpu) for cpu in range(self.count)]
        )

    def per_cpu(self, pointer: int, cpu: int) -> int:
        """Return the address of a CPU's copy of a per-CPU variable or allocation."""
        return (pointer + self._offsets[cpu]) & MASK64

    def rq_address(self, cpu: int) -> int:
        """Return the address of the CPU's ``struct rq``."""
        return self.per_cpu(self._runqueues, cpu)

    def class_name(self, pointer: int) -> str | None:
        """Return ``ext``, ``fair``, … from a task's ``sched_class``; None for an unknown one."""
        return self._classes.get(pointer)

    def online(self, space: AddressSpace) -> int:
        """Read the bit mask of the CPUs that are up."""
        if self._online is None:
            return (1 << self.count) - 1
        return int.from_bytes(space.read(self._online, (self.count + 63) // 64 * 8), "little")

    def tick_stopped(self, space: AddressSpace, cpu: int) -> bool | None:
        """Read whether the CPU's tick is stopped; None where this kernel does not say.

        ``tick_cpu_sched`` says it: `TS_FLAG_STOPPED` of ``flags``, on older kernels the bit field ``tick_stopped``
        (kernel/time/tick-sched.h). ``rq->nohz_tick_stopped`` does not: it belongs to the load balancer, and stays set
        on a busy CPU while sched_ext has all tasks.
        """
        if self._tick is None or self._ticks is None:
            return None
        found = self._tick.read(space, self.per_cpu(self._ticks, cpu))
        if found["flags"] is not None:
            return bool(found["flags"] & _TS_FLAG_STOPPED)
        return None if found["tick_stopped"] is None else bool(found["tick_stopped"])

    def sample(self, space: AddressSpace, cpu: int) -> CpuSample:
        """Read one CPU as it is now.

        The current task is read between two looks at the runqueue, which must agree; the second look also
        pairs the counters with each other.

        Raises:
            Torn: If the runqueue changed meanwhile or holds what no runqueue holds.
            MemoryReadError: If a pointer led nowhere.
        """
        address = self.rq_address(cpu)
        before = self.rq.read(space, address)
        curr = self.running(space, before["curr"])
        after = self.rq.read(space, address)
        if any(before[name] != after[name] for name in _SAME):
            raise Torn(f"the runqueue of CPU {cpu} changed while it was read")
        return CpuSample(
            cpu=cpu,
            curr_pid=curr["pid"],
            curr_comm=text(curr["comm"]),
            curr_class=self.class_name(curr["sched_class"]),
            idle=before["curr"] == before["idle"],
            nr_running=plausible_depth(before["nr_running"], "nr_running"),
            scx_nr_running=_optional_depth(before["scx_nr_running"], "scx.nr_running"),
            scx_flags=before["flags"],
            local_dsq_nr=_optional_depth(before["local_dsq_nr"], "local_dsq.nr"),
            nr_switches=before["nr_switches"],
            rq_clock_ns=before["clock"],
        )

    def running(self, space: AddressSpace, task: int) -> dict[str, Any]:
        """Read ``pid``, ``comm`` and ``sched_class`` of a task, checked for plausibility."""
        if task < KERNEL_HALF:
            raise Torn(f"rq->curr is {task:#x}")
        found = self.curr.read(space, task)
        plausible_pid(found["pid"])
        if found["sched_class"] not in self._classes:
            raise Torn(f"sched_class of pid {found['pid']} is {found['sched_class']:#x}")
        return found


def _possible_cpus(symbols: Symbols, space: AddressSpace) -> int:
    address = symbols.find("nr_cpu_ids")
    count = 1 if address is None else space.u32(address)
    if not 0 < count <= MAX_CPUS:
        raise Torn(f"nr_cpu_ids of {count} is implausible")
    return count


def _optional_depth(depth: int | None, what: str) -> int | None:
    return None if depth is None else plausible_depth(depth, what)
