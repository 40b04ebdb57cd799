"""Kernel operations on a hand-made kernel: what they change, what they refuse, and what is written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio

from ktstr_tui.kernel.write import Run
from ktstr_tui.model.errors import GuestError, HostError, UsageError
from ktstr_tui.ops.kernel_ops import MAX_WRITE_BYTES, REFUSALS_TOLD_PER_S
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire.kernel_ops import (
    U32,
    U64,
    Bytes,
    Direct,
    Entry,
    Int,
    KernelOp,
    KernelOpReply,
    Kva,
    OrU32,
    PerCpuField,
    Span,
    Symbol,
    Target,
    Value,
)
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET
from tests.unit.ops import ops_kernel as k
from tests.unit.ops.ops_kernel import OpsKernel
from tests.unit.ops.ops_rig import KNOB, OpenOps

# -- reads and writes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cold", [False, True])
async def test_a_write_lands_and_is_told_and_written_down(open_ops: OpenOps, cold: bool) -> None:
    async with open_ops() as ops:
        result = await ops.write(KNOB, U32(77), cold=cold)
        assert result.success
        assert ops.kernel.get(k.KNOB) == 77
        # Hot leaves the guest alone; cold stops it and lets it go.
        assert ops.rig.engine.log == (["stop", "resume"] if cold else [])
        (event,) = ops.told()
        (place,) = event.entries
        assert (event.who, event.mode, event.ok, event.tag) == (
            "alice",
            "cold" if cold else "hot",
            True,
            "test",
        )
        assert (place.target, place.address, place.size_bytes) == ("knob", IMAGE + k.KNOB, 4)
        assert (place.before, place.after) == (10, 77)
        assert (event.pause is None) is not cold
        (line,) = ops.lines()
        assert line["wall"]
        told = {
            name: value for name, value in msgspec.to_builtins(event).items() if name not in ("type", "seq")
        }
        head = {"wall": line["wall"], "what": "result", "number": 1}
        assert line == msgspec.json.decode(msgspec.json.encode(head | told))
        assert ops.trail.path.stat().st_mode & 0o777 == 0o600
        assert (ops.ops.statistics().writes, ops.ops.statistics().audit.lines) == (1, 2)


async def test_a_cold_write_happens_while_the_guest_stands(open_ops: OpenOps) -> None:
    class Minding(WritableRam):
        standing: Callable[[], bool]

        def swap(self, runs: Any, data: bytes) -> bytes:  # noqa: ANN401
            assert self.standing()
            return super().swap(runs, data)

    async with open_ops(ram=Minding) as ops:
        Minding.standing = staticmethod(lambda: not ops.rig.runs())
        assert (await ops.write(KNOB, U32(1), cold=True)).success
        assert ops.rig.runs()


async def test_a_cold_write_into_a_frozen_guest_leaves_it_frozen(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        await ops.rig.coordinator.freeze("a look")
        assert (await ops.write(KNOB, U32(5), cold=True)).success
        assert ops.rig.coordinator.frozen_reason == "a look"
        assert ops.rig.engine.log == ["stop"]
        await ops.rig.coordinator.thaw("enough")


@pytest.mark.parametrize(
    ("target", "value", "size", "expected"),
    [
        (KNOB, U32(0xFFFFFFFF), 4, 0xFFFFFFFF),
        (Symbol("wide"), U64(1 << 63), 8, 1 << 63),
        (KNOB, OrU32(0x105), 4, 0x10F),
        (KNOB, Bytes(b"\1\2\3"), 4, 0x030201),
        (Symbol("table"), Bytes(bytes(range(1, 17))), 16, int.from_bytes(bytes(range(1, 17)), "little")),
        (Kva(IMAGE + k.KNOB), U32(3), 4, 3),
        (Kva(PAGE_OFFSET + k.KNOB), U32(4), 4, 4),
        (Direct(PAGE_OFFSET + k.KNOB), U32(5), 4, 5),
    ],
)
async def test_every_value_lands_in_every_place(
    open_ops: OpenOps, target: Target, value: Value, size: int, expected: int
) -> None:
    at = {"wide": k.WIDE, "table": k.TABLE}.get(getattr(target, "name", ""), k.KNOB)
    async with open_ops() as ops:
        result = await ops.write(target, value)
        assert result.reason == ""
        assert ops.kernel.get(at, size) == expected
        (place,) = result.places
        assert int.from_bytes(place.after or b"", "little") == expected


@pytest.mark.parametrize("cold", [False, True])
async def test_reads_need_no_permission_and_are_not_written_down(open_ops: OpenOps, cold: bool) -> None:
    async with open_ops(allow=False) as ops:
        for asked, answer in (
            (U32(), U32(10)),
            (U64(), U64(10)),
            (Span(2), Bytes(b"\n\0")),
            (Bytes(b"???"), Bytes(b"\n\0\0")),
        ):
            result = await ops.read(KNOB, asked, cold=cold)
            assert result.reply(3) == KernelOpReply(3, True, "", (answer,))
        assert ops.told() == []
        assert ops.lines() == []
        assert ops.ops.statistics().reads == 4
        assert len(ops.rig.engine.log) == (8 if cold else 0)


async def test_each_cpu_has_its_own(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        for cpu in (0, 1):
            assert (await ops.write(PerCpuField("runqueues", "nr_running", cpu), Int(7 + cpu))).success
            assert (await ops.write(PerCpuField("runqueues", "hits[1]", cpu), Int(-1))).success
        assert [ops.kernel.get(k.RUNQUEUES + k.STRIDE * cpu) for cpu in (0, 1)] == [7, 8]
        assert ops.kernel.get(k.RUNQUEUES + k.STRIDE + 32, 8) == (1 << 64) - 1
        result = await ops.read(PerCpuField("runqueues", "nr_running", 1))
        assert result.reply(1).read_values == (Int(8),)


async def test_bytes_over_two_pages_land_in_both(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        ops.kernel.map(k.VMALLOC, 0x60000)
        ops.kernel.map(k.VMALLOC + 0x1000, 0x90000)
        assert (await ops.write(Kva(k.VMALLOC + 0xFFE), Bytes(b"abcd"))).success
        assert ops.kernel.get(0x60FFE, 2).to_bytes(2, "little") == b"ab"
        assert ops.kernel.get(0x90000, 2).to_bytes(2, "little") == b"cd"
        assert (await ops.read(Kva(k.VMALLOC + 0xFFE), Span(4))).places[0].before == b"abcd"


# -- refusals --------------------------------------------------------------------------------------------


async def test_without_permission_nothing_is_written(open_ops: OpenOps) -> None:
    async with open_ops(allow=False) as ops:
        for cold in (False, True):
            result = await ops.write(KNOB, U32(77), cold=cold)
            assert "does not allow writes" in result.reason
            assert isinstance(result.error, UsageError)
            assert "--allow-writes" in result.error.hint
        assert ops.kernel.get(k.KNOB) == 10
        assert ops.rig.engine.log == []
        assert [(event.ok, event.entries[0].target, event.entries[0].before) for event in ops.told()] == [
            (False, "knob", None)
        ] * 2
        assert [line["ok"] for line in ops.lines()] == [False, False]
        assert ops.ops.statistics().refused == {"write: WriteRefused": 2}


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (IMAGE + k.TEXT, "is kernel text"),
        (IMAGE + k.TEXT + 0x1FFC, "is kernel text"),
        (PAGE_OFFSET + k.TEXT + 0x1000, "is kernel text"),
        (IMAGE + k.RODATA + 0x10, "is read-only data of the kernel"),
        (PAGE_OFFSET + k.RODATA, "is read-only data of the kernel"),
        (IMAGE + k.CODE, "is code"),
        (IMAGE + k.CONSTANT, "is read-only"),
        (k.VMALLOC + 0x5000, "is not mapped"),
        (k.VMALLOC + 0x6000, "outside RAM"),
        (0x1000, "not an address of the kernel"),
        ((1 << 64) - 2, "not aligned"),
    ],
)
async def test_what_the_kernel_protects_is_not_written_to(open_ops: OpenOps, address: int, why: str) -> None:
    async with open_ops() as ops:
        ops.kernel.map(k.VMALLOC + 0x6000, 0x40000000)
        before = ops.kernel.ram.read(0, k.RAM_BYTES)
        for cold in (False, True):
            result = await ops.write(Kva(address), U32(0), cold=cold)
            assert why in result.reason
            assert not result.changed
        assert ops.kernel.ram.read(0, k.RAM_BYTES) == before
        assert len(ops.lines()) == 2


@pytest.mark.parametrize(
    ("target", "value", "why"),
    [
        (Symbol("knop"), U32(1), "no symbol 'knop'"),
        (Symbol("runqueues"), U32(1), "is a per-CPU variable"),
        (Symbol("table"), Bytes(b"x" * 17), "room for 16 bytes"),
        (Symbol("table"), Int(5), "size of table is not known"),
        (Symbol("table"), Bytes(b""), "no bytes"),
        (KNOB, Span(4), "no bytes to write"),
        (Kva(IMAGE + k.KNOB + 2), U32(1), "not aligned to 4"),
        (Kva(IMAGE + k.KNOB + 4), U64(1), "not aligned to 8"),
        (Direct(IMAGE + k.KNOB), U32(1), "not in the direct map"),
        (Kva(1 << 70), U32(1), "not an address"),
        (PerCpuField("runqueues", "nr_running", 0), U64(1), "has 4 bytes, not 8"),
        (PerCpuField("runqueues", "nr_running", 0), Int(1 << 32), "does not fit"),
        (PerCpuField("runqueues", "nr_running", 0), Int(-(1 << 31) - 1), "does not fit"),
        (PerCpuField("runqueues", "nr_running", 2), Int(1), "no CPU 2"),
        (PerCpuField("runqueues", "curr[0]", 0), Int(1), "through a pointer"),
        (PerCpuField("runqueues", "nothing", 0), Int(1), "no member 'nothing'"),
        (PerCpuField("runqueues", "curr->x", 0), Int(1), "not a member of a per-CPU variable"),
        (PerCpuField("knob", "", 0), U32(1), "not per CPU"),
        (Kva(IMAGE + k.TABLE), Bytes(b"x" * (MAX_WRITE_BYTES + 1)), "at most 4096"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    open_ops: OpenOps, target: Target, value: Value, why: str
) -> None:
    async with open_ops() as ops:
        before = ops.kernel.ram.read(0, k.RAM_BYTES)
        result = await ops.write(target, value)
        assert why in result.reason
        assert ops.kernel.ram.read(0, k.RAM_BYTES) == before


async def test_all_entries_or_none(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        result = await ops.ask("write", Entry(KNOB, U32(1)), Entry(Symbol("banner"), U32(1)), cold=True)
        assert "is read-only data" in result.reason
        assert ops.kernel.get(k.KNOB) == 10
        assert [place.before for place in ops.told()[0].entries] == [None, None]


async def test_reads_that_do_not_fit_an_answer_are_not_made(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        op = KernelOp("hot", "read", (Entry(Kva(IMAGE), Span(4096)),))
        assert (await ops.ops.run(op, "x", reply_bytes=5000)).success
        result = await ops.ops.run(op, "x", reply_bytes=4100)
        assert result.reason == "4096 bytes do not fit into an answer of 4100"
        assert "bits can be set by writes" in (await ops.read(KNOB, OrU32(1))).reason


async def test_before_memory_is_typed_nothing_can_be_asked(open_ops: OpenOps) -> None:
    async with open_ops(typed=False) as ops:
        assert "BTF is not loaded yet" in (await ops.read(KNOB, U32())).reason


# -- the audit -------------------------------------------------------------------------------------------


async def test_no_write_without_an_audit_trail(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        ops.trail.path.mkdir()
        result = await ops.write(KNOB, U32(77))
        assert isinstance(result.error, HostError)
        assert "refusing to write: the audit log" in result.reason
        assert ops.kernel.get(k.KNOB) == 10
        assert (await ops.read(KNOB, U32())).success


async def test_a_full_trail_ends_the_writing_and_refusals_cannot_fill_it(open_ops: OpenOps) -> None:
    async with open_ops(max_bytes=2000) as ops:
        for _ in range(REFUSALS_TOLD_PER_S):
            await ops.write(Symbol("banner"), U32(1))
        left_out = ops.ops.statistics().audit.left_out
        assert left_out == REFUSALS_TOLD_PER_S - len(ops.lines()) > 0
        written = 0
        while (await ops.write(KNOB, U32(20 + written))).success:
            written += 1
        assert ops.kernel.get(k.KNOB) == 19 + written
        assert [line["entries"][0]["after"] for line in ops.lines() if line["ok"]] == [
            20 + it for it in range(written)
        ]
        assert 0 < written < 10
        assert "at most 2000" in ops.ops.statistics().audit.broken


async def test_a_flood_of_refusals_is_counted_and_not_told(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        for _ in range(3 * REFUSALS_TOLD_PER_S):
            await ops.write(Symbol("banner"), U32(1))
        statistics = ops.ops.statistics()
        assert sum(statistics.refused.values()) == 3 * REFUSALS_TOLD_PER_S
        assert statistics.refusals_untold == 2 * REFUSALS_TOLD_PER_S
        assert len(ops.lines()) == len(ops.told()) == REFUSALS_TOLD_PER_S
        ops.now_ns += 1_000_000_000
        await ops.write(Symbol("banner"), U32(1))
        assert len(ops.lines()) == REFUSALS_TOLD_PER_S + 1


async def test_a_write_whose_requester_is_gone_is_written_down(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        with trio.CancelScope() as scope:
            scope.cancel()
            await ops.write(KNOB, U32(77), cold=True)
        assert scope.cancelled_caught
        assert (ops.kernel.get(k.KNOB), [line["ok"] for line in ops.lines()]) == (77, [True])


async def test_when_the_guest_is_gone_it_is_said(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        ops.rig.engine.die()
        await ops.rig.settle()
        result = await ops.write(KNOB, U32(77), cold=True)
        assert isinstance(result.error, GuestError)
        assert ops.kernel.get(k.KNOB) == 10


def test_bits_are_set_and_words_swapped_where_they_are(ops_kernel: OpsKernel) -> None:
    writable = WritableRam(ops_kernel.parts)
    assert writable.set_bits(Run(k.KNOB, 4), 0x100) == (10).to_bytes(4, "little")
    assert writable.swap([Run(k.KNOB, 4)], b"\1\0\0\0") == (0x10A).to_bytes(4, "little")
    assert writable.swap([Run(k.KNOB + 1, 2)], b"xy") == b"\0\0"
    assert ops_kernel.get(k.KNOB) == int.from_bytes(b"\1xy\0", "little")
    with pytest.raises(GuestError, match="outside RAM"):
        writable.swap([Run(k.RAM_BYTES, 4)], b"1234")
    writable.close()
