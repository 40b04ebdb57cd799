"""The helpers in drgn's style over lists that change while they are followed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from drgn import (
    Architecture,
    Object,
    Platform,
    PlatformFlags,
    Program,
    Type,
    TypeKindSet,
    TypeMember,
)

from ktstr_tui.kernel import scx_helpers as scx

HEADS, DSQS, TASKS = 0x1000, 0x2000, 0x3000
TASK_BYTES, NODE, DSQ_NODE, DSQ, FLAGS = 0x100, 0x10, 0x20, 0x40, 0x50
CPUS = (0, 1)


class Kernel:
    """Two runqueues, two queues and some tasks in made-up memory."""

    def __init__(self) -> None:
        flags = PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN
        self.prog = Program(Platform(Architecture.X86_64, flags))
        self.memory = bytearray(0x8000)
        self.names = {"runqueues": 0}
        """Variables and constants by name."""
        self.prog.add_memory_segment(0, len(self.memory), self._read)
        self.types = self._types()
        self.prog.register_type_finder("made up", self._find, enable_index=0)
        for at in (*(HEADS + 16 * it for it in CPUS), *(DSQS + 32 * it for it in CPUS)):
            self.put(at, at, at)

    def _read(self, address: int, count: int, _offset: int, _physical: bool) -> bytes:
        return bytes(self.memory[address : address + count])

    def _types(self) -> dict[str, Type]:
        prog = self.prog
        u32 = prog.int_type("unsigned int", 4, False)
        node: Type = prog.struct_type(
            "list_head",
            16,
            [
                TypeMember(lambda: prog.pointer_type(node), "next"),
                TypeMember(lambda: prog.pointer_type(node), "prev", 64),
            ],
        )
        dsq = prog.struct_type("scx_dispatch_q", 32, [TypeMember(node, "list")])
        in_dsq = prog.struct_type(
            "scx_dsq_list_node", 24, [TypeMember(node, "node"), TypeMember(u32, "flags", 128)]
        )
        entity = prog.struct_type(
            "sched_ext_entity",
            0x80,
            [
                TypeMember(node, "runnable_node", 0),
                TypeMember(in_dsq, "dsq_list", 8 * (DSQ_NODE - NODE)),
                TypeMember(prog.pointer_type(dsq), "dsq", 8 * (DSQ - NODE)),
                TypeMember(u32, "flags", 8 * (FLAGS - NODE)),
            ],
        )
        task = prog.struct_type(
            "task_struct", TASK_BYTES, [TypeMember(u32, "pid"), TypeMember(entity, "scx", 8 * NODE)]
        )
        return {it.tag or "": it for it in (node, dsq, in_dsq, task)}

    def _find(self, _prog: Program, _kinds: TypeKindSet, name: str, _file: str | None) -> Type | None:
        return self.types.get(name)

    def put(self, at: int, *words: int) -> None:
        struct.pack_into(f"<{len(words)}Q", self.memory, at, *words)

    def link(self, head: int, pids: Sequence[int], at: int) -> None:
        """Make a list of the nodes of some tasks."""
        chain = [head, *(TASKS + pid * TASK_BYTES + at for pid in pids)]
        for here, there in zip(chain, [*chain[1:], head], strict=True):
            self.put(here, there)
        for pid in pids:
            struct.pack_into("<I", self.memory, TASKS + pid * TASK_BYTES, pid)

    def dsq(self, number: int) -> Object:
        return Object(self.prog, self.prog.pointer_type(self.types["scx_dispatch_q"]), DSQS + 32 * number)

    def runnable_list(self, cpu: int) -> Object:
        return Object(self.prog, self.types["list_head"], address=HEADS + 16 * cpu)


class _Rq:
    """What `per_cpu` gives for a runqueue."""

    def __init__(self, head: Object) -> None:
        self.scx = self
        self.runnable_list = head


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel()
    found.prog.register_object_finder(
        "made up",
        lambda prog, name, *_: Object(prog, "int", found.names[name]) if name in found.names else None,
        enable_index=0,
    )
    for name in ("for_each_online_cpu", "for_each_possible_cpu"):
        monkeypatch.setattr(scx, name, lambda _prog: iter(CPUS))
    monkeypatch.setattr(scx, "per_cpu", lambda _, cpu: _Rq(found.runnable_list(int(cpu))))
    return found


def pids(tasks: Sequence[Object]) -> list[int]:
    return [it.pid.value_() for it in tasks]


def runnable(kernel: Kernel, cpu: int | None = None) -> list[int]:
    return pids(list(scx.scx_runnable_tasks(kernel.prog, cpu)))


def test_the_runnable_tasks_of_all_cpus_or_of_one(kernel: Kernel) -> None:
    kernel.link(HEADS, [1, 2], NODE)
    kernel.link(HEADS + 16, [3], NODE)
    assert runnable(kernel) == [1, 2, 3]
    assert runnable(kernel, 1) == [3]


def test_an_entry_that_was_taken_out_meanwhile_ends_the_list(kernel: Kernel) -> None:
    kernel.link(HEADS, [1, 2], NODE)
    kernel.link(HEADS + 16, [3], NODE)
    tasks = scx.scx_runnable_tasks(kernel.prog)
    assert next(tasks).pid.value_() == 1
    gone = TASKS + TASK_BYTES + NODE
    kernel.put(gone, gone, gone)
    assert pids(list(tasks)) == [3]


def test_a_task_that_went_to_another_cpu_meanwhile_leads_to_no_task_that_is_none_and_none_twice(
    kernel: Kernel,
) -> None:
    kernel.link(HEADS, [1, 2], NODE)
    tasks = scx.scx_runnable_tasks(kernel.prog)
    assert next(tasks).pid.value_() == 1
    kernel.link(HEADS, [2], NODE)
    kernel.link(HEADS + 16, [3, 1], NODE)
    assert pids(list(tasks)) == [3]


def test_a_queue_gives_its_own_tasks_alone(kernel: Kernel) -> None:
    kernel.link(DSQS, [1, 2], DSQ_NODE)
    kernel.link(DSQS + 32, [3], DSQ_NODE)
    for pid, number in ((1, 0), (2, 0), (3, 1)):
        kernel.put(TASKS + pid * TASK_BYTES + DSQ, DSQS + 32 * number)
    assert pids(list(scx.scx_dsq_tasks(kernel.dsq(0)))) == [1, 2]
    tasks = scx.scx_dsq_tasks(kernel.dsq(0))
    assert next(tasks).pid.value_() == 1
    kernel.link(DSQS + 32, [3, 1], DSQ_NODE)
    kernel.put(TASKS + TASK_BYTES + DSQ, DSQS + 32)
    assert pids(list(tasks)) == []


@pytest.mark.parametrize("shifted", [False, True])
def test_the_state_of_a_task_before_and_since_the_states_are_shifted_into_their_place(
    kernel: Kernel, shifted: bool
) -> None:
    kernel.names |= {"SCX_TASK_STATE_SHIFT": 8, "SCX_TASK_STATE_MASK": 0x300}
    for value, name in enumerate(("NONE", "INIT", "READY", "ENABLED")):
        kernel.names[f"SCX_TASK_{name}"] = value << 8 if shifted else value
        kernel.put(TASKS + value * TASK_BYTES + FLAGS, value << 8 | 1)
    kind = kernel.prog.pointer_type(kernel.types["task_struct"])
    tasks = [Object(kernel.prog, kind, TASKS + value * TASK_BYTES) for value in range(4)]
    assert [scx.task_scx_state(it) for it in tasks] == ["none", "init", "ready", "enabled"]
