"""Tasks: the runnable lists that the sched_ext watchdog walks, and everything a report says of one task.

Mirrors ``struct task_struct`` (include/linux/sched.h), ``struct sched_ext_entity`` (include/linux/sched/ext.h) and the
walk of ``check_rq_for_timeouts()`` (kernel/sched/ext.c).

How exact is this? A runnable list is protected by the lock of its runqueue, which is not taken here. While the guest
runs, a walk may see a task that leaves; every step therefore checks that the next node points back to the last one, and
the walk is given up as torn when it does not. ``runnable_at`` is in jiffies, so an age is exact to one tick (4 ms at
HZ=250). In a frozen guest all of it is one moment.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.flag_words import FlagWords
from ktstr_tui.kernel.layout import Layout, Paths
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.torn import Torn, plausible_pid, text
from ktstr_tui.model.report import NextTask, RunningTask, TaskReport

MAX_RUNNABLE = 4096
_RUNNABLE = {
    "pid": "pid",
    "comm": "comm",
    "on_cpu": "on_cpu",
    "runnable_at": "scx.runnable_at",
    "dsq": "scx.dsq",
    "sched": "scx.sched",
    "flags": "flags",
    "next": "scx.runnable_node.next",
    "prev": "scx.runnable_node.prev",
}
LISTED_MEMBERS: Paths = {
    "pid": "pid",
    "tgid": "tgid",
    "comm": "comm",
    # Since Linux kernel commit 2f064a59a11f ("sched: Change task_struct::state") (in v5.14) the state is named
    # "__state". Before that, it is named "state".
    "state": ("__state", "state"),
    "exit_state": "exit_state",
    "sched_class": "sched_class",
    "policy": "policy",
    "static_prio": "static_prio",
    # Since Linux kernel commit bcf9033e5449 ("sched: move CPU field back into thread_info if
    # THREAD_INFO_IN_TASK=y") (in v5.16) the CPU is in thread_info. Before that, it is in task_struct itself.
    "cpu": ("thread_info.cpu", "cpu"),
    "cpus_ptr": "cpus_ptr",
    "on_cpu": "on_cpu",
    "runnable_at": "scx.runnable_at",
    "dsq": "scx.dsq",
    "ops_state": "scx.ops_state.counter",
}
"""Members of a task that every list of tasks shows."""
_FULL: Paths = {
    **LISTED_MEMBERS,
    "weight": "scx.weight",
    "nr_cpus_allowed": "nr_cpus_allowed",
    # Only kernels with sub-schedulers say whose task it is.
    "sched": "scx.sched",
    "dsq_seq": "scx.dsq_seq",
    "dsq_flags": "scx.dsq_flags",
    "scx_flags": "scx.flags",
    "dsq_vtime": "scx.dsq_vtime",
    "slice_ns": "scx.slice",
    "sticky_cpu": "scx.sticky_cpu",
    "holding_cpu": "scx.holding_cpu",
    "ddsp_dsq_id": "scx.ddsp_dsq_id",
    # Only kernels with core scheduling have a cookie.
    "core_cookie": "core_cookie",
    "no_mig": "migration_disabled",
    "stack": "stack",
    "sp": "thread.sp",
}
_POLICIES = {0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}
_STATES = ((1, "S"), (2, "D"), (4, "T"), (8, "t"), (0x10, "X"), (0x20, "Z"), (0x40, "P"))
_TASK_IDLE = 0x402
DEFAULT_PRIO = 120
"""``static_prio`` of a task with nice 0."""
_DEFAULT_STACK_BYTES = 16384
_RESET_ON_FORK = 0x40000000


class Runnable(NamedTuple):
    """A task on a runnable list."""

    address: int
    pid: int
    comm: str
    on_cpu: bool
    runnable_at: int
    """In jiffies."""
    dsq: int
    """Address of the queue it is in; 0 when in none."""
    cpu: int
    sched: int | None = None
    """Address of its scheduler; None where this kernel has only one."""
    flags: int = 0
    """``task->flags``."""


class Tasks:
    """Reads tasks.

    Args:
        btf: The kernel's BTF.
        cpus: Its CPUs.
    """

    def __init__(self, btf: Btf, cpus: Cpus) -> None:
        self._cpus = cpus
        self._runnable = Layout(btf, "task_struct", _RUNNABLE)
        self._node = self._runnable.find_offset("scx.runnable_node") or 0
        self._head = cpus.rq.find_offset("scx.runnable_list")
        stack = btf.find("thread_union", Kind.UNION)
        self.stack_bytes = btf.size_of(stack) if stack is not None else _DEFAULT_STACK_BYTES
        """``THREAD_SIZE``."""
        self.full = Layout(btf, "task_struct", _FULL)
        self.words = FlagWords(btf)
        """Names of flags."""

    def runnable(
        self, space: AddressSpace, cpu: int, limit: int = MAX_RUNNABLE, *, frozen: bool = False
    ) -> tuple[list[Runnable], bool]:
        """Walk the tasks that wait on a CPU's runqueue, longest waiting first; also return whether it was cut.

        Every step checks that the next node points back to the last one.

        Args:
            space: Where to read.
            cpu: Whose list.
            limit: Most tasks to read.
            frozen: The guest does not run: a list that is broken then was stopped in the middle of a
                change, and is given up to there, as cut.

        Raises:
            Torn: If the list changed during the walk.
            MemoryReadError: If a pointer led nowhere.
        """
        if self._head is None:
            return [], False
        head = last = self._cpus.rq_address(cpu) + self._head
        node, found = space.u64(head), list[Runnable]()
        while node != head:
            if len(found) >= limit:
                return found, True
            try:
                row = self._runnable.read(space, node - self._node) if node >= KERNEL_HALF else None
            except MemoryReadError:
                if not frozen:
                    raise
                return found, True
            if row is None or row["prev"] != last:
                if frozen:
                    return found, True
                raise Torn(f"the runnable list of CPU {cpu} changed while it was read")
            found.append(
                Runnable(
                    address=node - self._node,
                    pid=plausible_pid(row["pid"]),
                    comm=text(row["comm"]),
                    on_cpu=bool(row["on_cpu"]),
                    runnable_at=row["runnable_at"],
                    dsq=row["dsq"],
                    cpu=cpu,
                    sched=row["sched"],
                    flags=row["flags"],
                )
            )
            last, node = node, row["next"]
        return found, False

    def pid(self, space: AddressSpace, task: int) -> int:
        """Read the pid of the task at an address; raises ``Torn`` when that is no pid."""
        return plausible_pid(self._runnable.read(space, task)["pid"])

    def cpus_allowed(self, space: AddressSpace, pointer: int) -> int:
        """Read the bit mask behind ``cpus_ptr``."""
        return int.from_bytes(space.read(pointer, (self._cpus.count + 63) // 64 * 8), "little")

    def allowed_of(self, space: AddressSpace, task: int) -> int:
        """Read the bit mask of the CPUs that a task may use; 0 where this kernel has no ``cpus_ptr``."""
        offset = self.full.find_offset("cpus_ptr")
        return 0 if offset is None else self.cpus_allowed(space, space.u64(task + offset))

    def is_held(self, space: AddressSpace, task: int) -> bool:
        """Read whether the BPF scheduler has a task: its ``ops_state`` is QUEUED."""
        offset = self.full.find_offset("scx.ops_state.counter")
        return offset is not None and self.words.ops_state(space.u64(task + offset))[0] == "QUEUED"

    def report(self, row: dict[str, Any], mask: int, cpu: int) -> TaskReport:
        """Make the report of a task from its own struct; the caller adds age, queue, neighbours and stack.

        Args:
            row: A look with the layout ``full``.
            mask: Its allowed CPUs.
            cpu: The runqueue it was found on.
        """
        flags, ops = row["scx_flags"], row["ops_state"]
        ops_name, qseq = (None, None) if ops is None else self.words.ops_state(ops)
        return TaskReport(
            pid=row["pid"],
            tgid=row["tgid"],
            comm=text(row["comm"]),
            state=state_letter(row["state"], row["exit_state"]),
            sched_class=self._class(row),
            policy=policy_word(row),
            nice=row["static_prio"] - DEFAULT_PRIO,
            weight=row["weight"],
            cpu=cpu,
            cpus_allowed=cpu_list(mask),
            nr_cpus_allowed=row["nr_cpus_allowed"],
            on_cpu=bool(row["on_cpu"]),
            dsq_seq=row["dsq_seq"],
            scx_state=None if flags is None else self.words.task_state(flags),
            scx_flags=None if flags is None else self.words.plain_flags(flags),
            scx_flag_names=() if flags is None else self.words.task_flags(flags),
            ops_state=ops,
            ops_state_name=ops_name,
            ops_qseq=qseq,
            dsq_flags=row["dsq_flags"],
            dsq_vtime=row["dsq_vtime"],
            slice_ns=row["slice_ns"],
            sticky_cpu=row["sticky_cpu"],
            holding_cpu=row["holding_cpu"],
            ddsp_dsq_id=row["ddsp_dsq_id"],
            core_cookie=row["core_cookie"],
            no_mig=row["no_mig"],
        )

    def running(
        self, row: dict[str, Any], cpu: int, *, online: bool = True, ahead_of: NextTask | None = None
    ) -> RunningTask:
        """Say what a CPU runs, from a look at its current task with the layout ``full``."""
        return RunningTask(
            cpu=cpu,
            pid=row["pid"],
            comm=text(row["comm"]),
            sched_class=self._class(row),
            policy=policy_word(row),
            weight=row["weight"],
            slice_ns=row["slice_ns"],
            offline=not online,
            ahead_of=ahead_of,
        )

    def _class(self, row: dict[str, Any]) -> str:
        return self._cpus.class_name(row["sched_class"]) or f"{row['sched_class']:#x}"


def policy_word(row: dict[str, Any]) -> str:
    """Return the policy of a task without ``SCHED_``, from a look that has ``policy``."""
    return _POLICIES.get(row["policy"] & ~_RESET_ON_FORK, str(row["policy"]))


def cpu_list(mask: int) -> str:
    """Write a bit mask as the kernel prints it: ``0-3,8``."""
    parts, cpu = [], 0
    while mask >> cpu:
        if not mask >> cpu & 1:
            cpu += 1
            continue
        end = cpu
        while mask >> (end + 1) & 1:
            end += 1
        parts.append(str(cpu) if end == cpu else f"{cpu}-{end}")
        cpu = end + 1
    return ",".join(parts)


def state_letter(state: int, exit_state: int) -> str:
    """Return the state of a task as ``/proc`` has it."""
    both = state | exit_state
    if state & _TASK_IDLE == _TASK_IDLE:
        return "I"
    return next((letter for bit, letter in _STATES if both & bit), "R")
