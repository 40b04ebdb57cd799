"""The audit trail on a disk that fills up: no write without its intent, and nothing lost when space returns."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import Logged
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire.kernel_ops import U32, OrU32
from tests.unit.ops import ops_kernel as k
from tests.unit.ops.full_disk import files_end_at
from tests.unit.ops.ops_rig import KNOB, OpenOps


async def test_the_intent_is_on_disk_before_memory_changes(
    open_ops: OpenOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[Any] = []
    flush = os.fsync

    class Minding(WritableRam):
        def swap(self, runs: Any, data: bytes) -> bytes:  # noqa: ANN401
            happened.append("write")
            return super().swap(runs, data)

    async with open_ops(ram=Minding) as ops:

        def flushed(handle: int) -> None:
            flush(handle)
            if os.fstat(handle).st_ino == ops.trail.path.stat().st_ino:
                happened.append([line["what"] for line in ops.trail_lines()])

        monkeypatch.setattr(os, "fsync", flushed)
        assert (await ops.write(KNOB, U32(77))).success
        assert happened == [["intent"], "write", ["intent", "result"]]
        intent, result = ops.trail_lines()
        assert intent["number"] == result["number"] == 1
        assert (intent["who"], intent["entries"]) == (
            "alice",
            [{"target": "knob", "address": result["entries"][0]["address"], "size_bytes": 4, "value": 77}],
        )
        assert (await ops.write(KNOB, OrU32(2))).success
        assert ops.trail_lines()[2]["entries"][0]["or_bits"] == 2


@pytest.mark.parametrize("room_bytes", [0, 20])
@pytest.mark.parametrize("cold", [False, True])
async def test_a_full_disk_refuses_writes_until_there_is_room(
    open_ops: OpenOps, room_bytes: int, cold: bool
) -> None:
    async with open_ops() as ops:
        assert (await ops.write(KNOB, U32(20))).success
        size_bytes = ops.trail.path.stat().st_size
        with files_end_at(size_bytes + room_bytes):
            result = await ops.write(KNOB, U32(77), cold=cold)
            assert isinstance(result.error, HostError)
            assert "refusing to write: the audit log" in result.reason
            assert "nothing was changed" in result.reason
            assert ops.kernel.get(k.KNOB) == 20
            assert ops.rig.engine.log == []
            # What was written of the line is cut off again.
            assert ops.trail.path.stat().st_size == size_bytes
            assert ops.ops.statistics().audit.broken
        assert (await ops.write(KNOB, U32(78), cold=cold)).success
        assert ops.kernel.get(k.KNOB) == 78
        assert [(line["what"], line.get("number")) for line in ops.trail_lines()] == [
            ("intent", 1),
            ("result", 1),
            ("intent", 2),
            ("result", 2),
        ]
        statistics = ops.ops.statistics().audit
        # The refusal did not fit either, and that is counted.
        assert (statistics.broken, statistics.left_out, statistics.kept) == ("", 1, 0)


async def test_a_result_that_finds_the_disk_full_is_kept_and_said(open_ops: OpenOps) -> None:
    class Filling(WritableRam):
        limit: Any = None

        def swap(self, runs: Any, data: bytes) -> bytes:  # noqa: ANN401
            before = super().swap(runs, data)
            Filling.limit = files_end_at(0)
            Filling.limit.__enter__()
            return before

    async with open_ops(ram=Filling) as ops:
        try:
            result = await ops.write(KNOB, U32(77))
            assert ops.kernel.get(k.KNOB) == 77
            assert not result.success
            with pytest.raises(HostError, match=r"memory was written, but .*; the intent is recorded"):
                result.raise_for_error()
            assert result.reply(1).success is False
            assert [line["what"] for line in ops.trail_lines()] == ["intent"]
            (event,) = ops.told()
            assert (event.ok, event.entries[0].after) == (True, 77)
            assert ops.rig.of(Logged)[-1].severity == "error"
            assert ops.ops.statistics().audit.kept == 1
            assert "nothing was changed" in (await ops.write(KNOB, U32(78))).reason
        finally:
            Filling.limit.__exit__(None, None, None)
        ops.trail.close()
        assert [(line["what"], line["number"]) for line in ops.trail_lines()] == [
            ("intent", 1),
            ("result", 1),
        ]
        assert ops.trail_lines()[1]["entries"][0]["after"] == 77
