"""A run with a seed is the same again, frozen, captured, watched by hand and stepped by lldb; on each kernel."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.instants import of_the_guest
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.guest.kernels import cached_kernels, matches
from ktstr_tui.link.recfile import read_recording
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.commands import AddWatch, Capture, Freeze, Request, Thaw
from ktstr_tui.model.events import (
    Frozen,
    OutputText,
    SchedulerChanged,
    StepStarted,
    WatchpointHit,
    WorkersReported,
)
from ktstr_tui.model.stored import IDENTITY_FILE
from tests.guest.runs import PROGRAM, call_json, headless_run
from tests.guest.test_debuggers import Told, step_with_lldb
from tests.guest.test_gallery import OLDER

pytestmark = pytest.mark.guest

SCENARIO = """
name = "touched"
[[steps]]
name = "works"
duration_ms = 6000
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
count = 2
[[steps.workers]]
kind = "bursty"
"""
ROUNDS, FREEZES = 25, 4
"""Rounds, each with a capture and so many freezes."""
TOLD = (OutputText, SchedulerChanged, StepStarted, WorkersReported)
"""Events that say what the guest said."""


def kernels() -> Iterator[str]:
    """The kernel under test, and an older one if the cache has it."""
    yield os.environ.get("KTSTR_TEST_KERNEL", "")
    yield from (it.release for it in cached_kernels() if matches(it.release, OLDER))


async def touch(place: Path, runnable_at: int) -> None:
    """Watch the clock and a task, and freeze and capture the guest while the scenario goes on; it stays frozen."""
    async with Viewer(place) as viewer:

        async def ask(*requests: Request) -> None:
            for reply in await asyncio.gather(*(viewer.command(it) for it in requests)):
                reply.answer(dict)

        await ask(AddWatch(expression="jiffies", length=8), AddWatch(expression=hex(runnable_at), length=8))
        for _ in range(ROUNDS):
            # What was asked for together is done at one instant of the guest's, one after the other.
            await ask(*(Thaw(), Freeze()) * (FREEZES - 1), Thaw())
            await ask(Capture(), Freeze())


def told(directory: Path) -> list[dict[str, Any]]:
    """What the guest said, as events without what is the host's in them, and the freezes are."""
    events = (it for it in read_recording(directory / "recording.ktstr") if isinstance(it, TOLD))
    stripped = [it for event in events if (it := of_the_guest(event)) is not None]
    return [{name: value for name, value in it.items() if name != "mono_ns"} for it in stripped]


@pytest.mark.parametrize("kernel", kernels())
def test_a_hundred_freezes_change_nothing(kernel: str, tmp_path: Path) -> None:
    scenario = tmp_path / "touched.toml"
    scenario.write_text(SCENARIO)
    words = ("--seed", "42", "--scenario", str(scenario), *(("--kernel", kernel) if kernel else ()))
    with headless_run(tmp_path, *words, name="first") as run:
        _, first, _ = run.end()
    one = Path(first["data_dir"])
    at_work = next(
        event
        for event in read_recording(one / "recording.ktstr")
        if isinstance(event, WorkersReported) and all(it.iterations for it in event.workers)
    )
    pid = at_work.workers[0].pid
    words = (str(one), "--to-event", str(at_work.seq))
    with headless_run(tmp_path, *words, name="second", command="rerun") as run:
        run.wait_for("frozen")
        read = call_json("op", "read", f"task:{pid}.scx.runnable_at", env=run.env)
        told_of = Told(run)
        asyncio.run(touch(run.socket_dir, read["entries"][0]["address"]))
        step_with_lldb(run, told_of, "platform shell " + shlex.join((*PROGRAM, "thaw", run.name)))
        _, second, _ = run.end()
    other = Path(second["data_dir"])
    for name in (IDENTITY_FILE, GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert told(one) == told(other)
    assert first["alerts"] == second["alerts"] == []
    last = json.loads((one / CHECKPOINTS_FILE).read_bytes().splitlines()[-1])
    assert last["sent_bytes"] > 1000
    assert last["scheduler_sha256"]

    seen = list(read_recording(other / "recording.ktstr"))
    kinds = Counter(type(it).__name__ for it in seen)
    by_hand = sum(isinstance(it, Frozen) and not it.debugger for it in seen)
    # The last time the debugger held it when it was thawed, and its hold was shown until it left.
    frozen = 1 + ROUNDS * FREEZES
    assert (by_hand, kinds["Thawed"], kinds["CaptureTaken"]) == (frozen, frozen, ROUNDS)
    hits = Counter(it.slot for it in seen if isinstance(it, WatchpointHit))
    assert hits[1]
    assert hits[2]
