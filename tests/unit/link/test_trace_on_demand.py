"""Blocks of the kernel's trace: who gets them, and how somebody who wants them later gets those of before."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from ktstr_tui.link.trace_on_demand import NOT_ASKED
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model import events as ev
from tests.unit.history.rows import block, row
from tests.unit.link.backend import PATIENCE_S, Backend, Looking, logs

MS = 1_000_000


def read(begin_ms: int) -> ev.TraceRead:
    """A second of the trace."""
    made_up = random.Random(begin_ms)
    switches = [
        row(
            begin_ms * MS + it * 900_000 + made_up.randrange(MS // 2),
            it % 2,
            "switch",
            made_up.randrange(9000),
        )
        for it in range(1000)
    ]
    return ev.TraceRead(block=block(switches, comms={201: "spin-1"}))


def test_only_a_viewer_that_wants_blocks_gets_them_and_nobody_has_a_hole(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            backend.emit(read(0), *logs("before they came"))
            plain, drawing = Viewer(tmp_path / "run"), Viewer(tmp_path / "run", trace=True)
            async with Looking(plain) as one, Looking(drawing) as other:
                await one.until(lambda: plain.connection == "live")
                await other.until(lambda: drawing.connection == "live")
                await backend.wait_viewers(2)
                backend.emit(read(1000), *logs("between"), read(2000))
                await one.until_seq(5)
                await other.until_seq(5)
                assert drawing.state == backend.stream.state
                assert [(it.events, it.data, it.dropped) for it in plain.state.trace] == [
                    (0, b"", NOT_ASKED)
                ] * 3
                assert [it.begin_ns for it in plain.state.trace] == [
                    it.begin_ns for it in drawing.state.trace
                ]
                assert plain.state.log == drawing.state.log
                ours, theirs = plain.statistics(), drawing.statistics()
                assert (ours.gaps, ours.missing, ours.undecodable, ours.snapshots) == (0, 0, 0, 1)
                assert (theirs.gaps, theirs.missing, theirs.undecodable, theirs.snapshots) == (0, 0, 0, 1)
                assert ours.bytes < theirs.bytes / 4

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))


def test_who_wants_them_later_gets_what_the_run_still_keeps(tmp_path: Path) -> None:
    async def scenario() -> None:
        with Backend(tmp_path / "run") as backend:
            viewer = Viewer(tmp_path / "run")
            async with Looking(viewer) as looking:
                await looking.until(lambda: viewer.connection == "live")
                await backend.wait_viewers(1)
                backend.emit(read(0), read(1000))
                await looking.until_seq(2)
                viewer.want_trace()
                await looking.until(lambda: viewer.state.trace == backend.stream.state.trace)
                assert sum(it.events for it in viewer.state.trace) == 2000
                backend.emit(read(2000))
                await looking.until(lambda: viewer.state == backend.stream.state)
                assert viewer.statistics().gaps == 0
                assert set(looking.connections) <= {"connecting", "live"}
                assert looking.connections[-1] == "live"
                assert looking.connections.count("live") == 1, "it was never said to be gone or behind"

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE_S))
