"""Members of tasks: every layer of checks before one is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ktstr_tui.model.errors import GuestError
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire.kernel_ops import (
    U64,
    Bytes,
    Int,
    TaskField,
    Value,
)
from tests.unit.ops import ops_kernel as k
from tests.unit.ops.ops_kernel import OpsKernel
from tests.unit.ops.ops_rig import OpenOps


def weight(pid: int = k.PID, start_ns: int | None = k.START_NS, field: str = "scx.weight") -> TaskField:
    return TaskField(pid, field, start_ns)


@pytest.mark.parametrize("cold", [False, True])
async def test_a_member_of_a_task_is_read_and_written(open_ops: OpenOps, cold: bool) -> None:
    async with open_ops() as ops:
        read = await ops.read(weight(start_ns=None), cold=cold)
        told = read.entries()[0]
        assert (told.before, told.start_time_ns, told.comm) == (100, k.START_NS, "worker")
        assert (await ops.write(weight(), Int(250), cold=cold)).success
        assert ops.kernel.get(ops.kernel.member(k.WEIGHT)) == 250
        (place,) = ops.told()[0].entries
        assert (place.target, place.before, place.after) == ("task 42.scx.weight", 100, 250)
        assert (place.start_time_ns, place.comm) == (k.START_NS, "worker")


Spoil = Callable[[OpsKernel], object]


@pytest.mark.parametrize(
    ("spoil", "target", "value", "why"),
    [
        (lambda it: None, weight(pid=7), Int(1), "no task with pid 7"),
        (lambda it: None, weight(pid=4000), Int(1), "no task with pid 4000"),
        (lambda it: it.put(k.PIDS + 0x40 * k.PID + 0x10, 0), weight(), Int(1), "no task with pid 42"),
        (lambda it: it.put(it.member(0), 43, 4), weight(), Int(1), "not its task"),
        (lambda it: it.put(it.member(k.THREAD_PID), 0), weight(), Int(1), "not its task"),
        (lambda it: it.put(it.member(k.EXIT_STATE), 16, 4), weight(), Int(1), "is exiting"),
        (lambda it: it.task(k.PID, k.START_NS + 1, b"heir"), weight(), Int(1), "now another task: heir"),
        (lambda it: None, weight(start_ns=None), Int(1), "needs its start time"),
        (lambda it: None, weight(field="scx.wait"), Int(1), "no member scx.wait"),
        (lambda it: None, weight(field="scx.dsq.id"), Int(1), "no member scx.dsq.id"),
        (lambda it: None, weight(field="scx->dsq"), Int(1), "not a path of members"),
        (lambda it: None, weight(field="bits.in_iowait"), Int(1), "bit field"),
        (lambda it: None, weight(field="scx.dsq"), Int(1), "not an integer"),
        (lambda it: None, weight(field="scx"), Bytes(b"x" * 0x40), "not an integer"),
        (lambda it: None, weight(), U64(1), "has 4 bytes, not 8"),
        (lambda it: None, weight(field="comm"), Bytes(b"x"), "has 16 bytes, not 1"),
        (lambda it: it.put(it.member(24), k.FAIR_CLASS), weight(), Int(1), "not scheduled by sched_ext"),
        (lambda it: it.put(it.member(32), 1, 4), weight(), Int(1), "is running on a CPU"),
    ],
)
async def test_every_layer_before_a_task_refuses_and_changes_nothing(
    open_ops: OpenOps, spoil: Spoil, target: TaskField, value: Value, why: str
) -> None:
    async with open_ops() as ops:
        spoil(ops.kernel)
        before = ops.kernel.ram.read(0, k.RAM_BYTES)
        result = await ops.write(target, value)
        assert why in result.reason
        assert ops.kernel.ram.read(0, k.RAM_BYTES) == before
        assert [line["ok"] for line in ops.lines()] == [False]


async def test_a_task_on_a_cpu_is_written_to_cold(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        ops.kernel.put(ops.kernel.member(32), 1, 4)
        assert (await ops.write(weight(), Int(3), cold=True)).success
        assert ops.kernel.get(ops.kernel.member(k.WEIGHT)) == 3


async def test_a_read_minds_the_start_time_it_is_given(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        assert (await ops.read(weight())).success
        assert "another task" in (await ops.read(weight(start_ns=1))).reason
        # What a write must not touch can be looked at.
        assert (await ops.read(weight(field="scx.dsq", start_ns=None))).success


async def test_a_task_that_goes_away_at_the_write_is_told_with_what_was_written(open_ops: OpenOps) -> None:
    class Exiting(WritableRam):
        kernel: OpsKernel

        def swap(self, runs: Any, data: bytes) -> bytes:  # noqa: ANN401
            before = super().swap(runs, data)
            self.kernel.task(k.PID, k.START_NS + 9, b"heir")
            return before

    async with open_ops(ram=Exiting) as ops:
        Exiting.kernel = ops.kernel
        result = await ops.write(weight(), Int(250))
        assert "went away during the write" in result.reason
        assert "(1 of 1 entries were written)" in result.reason
        (line,) = ops.lines()
        assert (line["ok"], line["entries"][0]["before"]) == (False, 100)
        with pytest.raises(GuestError, match="went away"):
            result.raise_for_error()
