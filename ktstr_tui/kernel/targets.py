"""What a kernel operation aims at: a variable, an address, a member of a CPU's variable or of a task.

A target is found by name once, which may be slow, and *located* afterwards, which is a handful of reads and is
done again right before each access. For tasks that is where the danger lies: pids are used again, and a
``task_struct`` is freed memory a moment after its task is gone. A member of a task is given out only when all
of this holds:

1. the pid is in the kernel's own table of pids (``init_pid_ns``);
2. the struct it leads to is that of this pid, by its ``pid`` and by the way back (``thread_pid``);
3. the task has not begun to exit (``exit_state`` is 0);
4. ``start_time`` is the one that was expected, so that the next task of the same pid is another one; a write
   without an expectation is refused;
5. the path leads to a member of ``task_struct`` in BTF, without a pointer and not to a bit field; to be written
   it must be an integer, an enumeration or an array of those;
6. its size is that of the value (checked with the value, by the caller);
7. for a write: the task is of the sched_ext class;
8. for a write while the guest runs: the task is on no CPU, where the kernel would be using it.

While the guest is frozen all of it is one moment. While it runs a task can exit between the last check and the
write, though not be freed at once (that takes a grace period of RCU); so the caller looks again afterwards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.c_types import CType
from ktstr_tui.kernel.expressions import ExpressionError, Expressions, Location
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.write import WriteRefused
from ktstr_tui.kernel.xarray import IdTables
from ktstr_tui.model.errors import GuestError, UsageError

_PATH = re.compile(r"[A-Za-z_]\w*(\[\d+\])?(\.[A-Za-z_]\w*(\[\d+\])?)*")
_MEMBERS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SCALARS = (Kind.INT, Kind.ENUM, Kind.ENUM64)
_IDENTITY = {
    "pid": "pid",
    "comm": "comm",
    "thread_pid": "thread_pid",
    "start_time": "start_time",
    "exit_state": "exit_state",
    "sched_class": "sched_class",
    "on_cpu": "on_cpu",
}
_WORDS_BYTES = (1, 2, 4, 8)


class WrongTask(GuestError):
    """There is no such task, or no longer, or it is not the one that was meant."""


class Where(NamedTuple):
    """A target, found."""

    address: int
    start_time_ns: int | None = None
    """Of the task, for a member of one."""
    comm: str | None = None


class Target(Protocol):
    """Something to read or write."""

    @property
    def text(self) -> str:
        """What it is called."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """Its size; None when its type is not known."""
        ...

    @property
    def room_bytes(self) -> int | None:
        """How far it reaches at most; None when that is not known."""
        ...

    @property
    def type(self) -> CType | None:
        """Its type; None when that is not known."""
        ...

    @property
    def whole_bytes(self) -> int | None:
        """Bytes of the whole object, which may be a struct or an array; None when that is not known."""
        ...

    def locate(self, space: AddressSpace, *, writing: bool, hot: bool) -> Where:
        """Where it is now.

        Raises:
            WriteRefused: It must not be written to.
            WrongTask: It belongs to a task that is gone or is another one.
            MemoryReadError: A pointer on the way leads nowhere.
        """
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A target that stays where it is."""

    text: str
    address: int
    size_bytes: int | None = None
    room_bytes: int | None = None
    type: CType | None = None
    whole_bytes: int | None = None

    def locate(self, space: AddressSpace, *, writing: bool, hot: bool) -> Where:
        """The address; nothing can be wrong with it here."""
        return Where(self.address)


@dataclass(frozen=True, slots=True)
class TaskMember:
    """A member of a task."""

    text: str
    tasks: TaskTable
    pid: int
    expected_start_time_ns: int | None
    offset: int
    size_bytes: int
    writable: bool
    """Whether its type is one that may be written."""
    type: CType

    @property
    def room_bytes(self) -> int:
        """Its size."""
        return self.size_bytes

    @property
    def whole_bytes(self) -> int:
        """Its size."""
        return self.size_bytes

    def locate(self, space: AddressSpace, *, writing: bool, hot: bool) -> Where:
        """Go through the layers of the module's docstring."""
        address, row = self.tasks.find(space, self.pid)
        start_time, comm = int(row["start_time"]), text(row["comm"])
        expected = self.expected_start_time_ns
        if expected is not None and start_time != expected:
            raise WrongTask(
                f"pid {self.pid} is now another task: {comm} started at {start_time} ns, expected {expected} ns"
            )
        if writing:
            self._check_write(row, comm, hot)
        return Where(address + self.offset & MASK64, start_time, comm)

    def _check_write(self, row: dict[str, Any], comm: str, hot: bool) -> None:
        who = f"{comm}[{self.pid}]"
        if self.expected_start_time_ns is None:
            raise WriteRefused(
                f"writing to {who} needs its start time, so that no other task with that pid is changed",
                "read any member of it first: the answer has the start time",
            )
        if not self.writable:
            raise WriteRefused(
                f"{self.text} is not an integer: pointers and structs of tasks cannot be written"
            )
        if not self.tasks.is_ext(row["sched_class"]):
            raise WriteRefused(f"{who} is not scheduled by sched_ext: only such tasks can be written to")
        if hot and row["on_cpu"]:
            raise WriteRefused(f"{who} is running on a CPU", "write while the guest is frozen (--cold)")


class TaskTable:
    """Finds tasks by pid, as the kernel does.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.

    Raises:
        BtfError: This kernel lacks a struct or a member that is needed.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        self._btf = btf
        self._ids = IdTables(btf)
        self._layout = Layout(btf, "task_struct", _IDENTITY)
        self._node = self._layout.offset("pid_links")
        self._tasks = Layout(btf, "pid", {}).offset("tasks")
        namespace = symbols.find("init_pid_ns")
        if namespace is None:
            raise BtfError("this kernel has no symbol init_pid_ns")
        self._table = namespace + Layout(btf, "pid_namespace", {}).offset("idr")
        self._ext = symbols.find("ext_sched_class")
        self._struct = btf.find("task_struct", Kind.STRUCT)

    def is_ext(self, sched_class: int) -> bool:
        """Whether that is the class of sched_ext."""
        return self._ext is not None and sched_class == self._ext

    def find(self, space: AddressSpace, pid: int) -> tuple[int, dict[str, Any]]:
        """The address of a live task and what identifies it (layers 1 to 3).

        Raises:
            WrongTask: There is none.
        """
        gone = f"no task with pid {pid}"
        try:
            entry = self._ids.find(space, self._table, pid)
            node = 0 if entry is None else space.u64(entry + self._tasks)
            if entry is None or node < KERNEL_HALF:
                raise WrongTask(gone)
            task = node - self._node
            row = self._layout.read(space, task)
        except MemoryReadError as problem:
            raise WrongTask(f"{gone}: {problem.message}") from problem
        if row["pid"] != pid or row["thread_pid"] != entry:
            raise WrongTask(f"{gone}: what its entry leads to is not its task (it may be exiting)")
        if row["exit_state"]:
            raise WrongTask(f"task {pid} is exiting")
        return task, row

    def member(self, pid: int, path: str, expected_start_time_ns: int | None) -> TaskMember:
        """A member of a task (layer 5).

        Raises:
            ExpressionError: There is no such member, or it has no address of its own.
        """
        if not _MEMBERS.fullmatch(path):
            raise ExpressionError(f"{path!r} is not a path of members", "for example scx.weight")
        assert self._struct is not None
        place = self._btf.place(self._struct, path)
        if place is None:
            raise ExpressionError(f"struct task_struct has no member {path}")
        size = self._btf.size_of(place.type_id)
        if place.bit_size or place.bit_offset % 8 or not size:
            raise ExpressionError(f"task_struct.{path} is a bit field, or has no size")
        kind = self._btf.resolve(place.type_id)
        if kind.kind == Kind.ARRAY:
            kind = self._btf.resolve(self._btf.array_of(kind.id)[0])
        return TaskMember(
            f"task {pid}.{path}",
            self,
            pid,
            expected_start_time_ns,
            place.bit_offset // 8,
            size,
            kind.kind in _SCALARS,
            CType(place.type_id),
        )


class Targets:
    """Finds targets by name.

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
        expressions: What finds members of per-CPU variables.
        space: Its memory; used here for the bounds of the direct map only.
    """

    def __init__(self, btf: Btf, symbols: Symbols, expressions: Expressions, space: AddressSpace) -> None:
        self._symbols = symbols
        self._expressions = expressions
        self._space = space
        self._btf = btf
        self._tasks: TaskTable | None = None

    def symbol(self, name: str, *, suggest: bool = True) -> Fixed:
        """A variable.

        Args:
            name: Its name in kallsyms, character by character.
            suggest: Whether an unknown name is answered with names that look like it, which takes long.

        Raises:
            ExpressionError: There is no such variable, or not exactly one.
        """
        self._expressions.symbol(name, None, suggest)
        found, room = self._expressions.compile(name, suggest=False), self._symbols.room(name)
        # What fits exactly up to the next symbol has that size, or one less with padding behind it.
        size = found.size_bytes or (room if room in _WORDS_BYTES else None)
        return self._fixed(found, found.base, size, room)

    def direct(self, address: int) -> Fixed:
        """An address in the direct map.

        Raises:
            UsageError: It lies elsewhere.
        """
        start = self._space.page_offset
        if start is None or not start <= address < start + self._space.memory.end:
            raise UsageError(f"{address:#x} is not in the direct map", "a plain address cannot be checked")
        return Fixed(f"{address:#x}", address)

    def kva(self, address: int) -> Fixed:
        """Any address of the kernel.

        Raises:
            UsageError: It is not one.
        """
        if not KERNEL_HALF <= address <= MASK64:
            raise UsageError(f"{address:#x} is not an address of the kernel")
        return Fixed(f"{address:#x}", address)

    def per_cpu(self, symbol: str, path: str, cpu: int) -> Fixed:
        """A member of a CPU's copy of a per-CPU variable.

        Raises:
            ExpressionError: It is not there, not per CPU, or behind a pointer.
        """
        words = f"{symbol}@{cpu}.{path}" if path else f"{symbol}@{cpu}"
        if not _MEMBERS.fullmatch(symbol) or (path and not _PATH.fullmatch(path)):
            raise ExpressionError(
                f"{words!r} is not a member of a per-CPU variable", "for example runqueues@0.nr_running"
            )
        found = self._expressions.compile(words, suggest=False)
        if found.moves:
            raise ExpressionError(
                f"{words} leads through a pointer", "read the pointer, then name the address"
            )
        return self._fixed(found, found.base + found.offset & MASK64, found.size_bytes, None)

    def _fixed(self, found: Location, address: int, size: int | None, room: int | None) -> Fixed:
        whole = 0 if found.type is None else self._expressions.types.size_of(found.type)
        known = whole if whole and (room is None or whole <= room) else None
        return Fixed(found.text, address, size, room, found.type, known)

    def task(self, pid: int, path: str, expected_start_time_ns: int | None) -> TaskMember:
        """A member of a task; whether there is one is found out when it is located.

        Raises:
            ExpressionError: There is no such member.
            BtfError: Tasks cannot be found in this kernel.
        """
        if self._tasks is None:
            self._tasks = TaskTable(self._btf, self._symbols)
        return self._tasks.member(pid, path, expected_start_time_ns)
