"""The control loop of a real run: what it decided is decided again from the recording, and chaos does not end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.backend.run_dirs import take_place
from ktstr_tui.backend.session import Session
from ktstr_tui.control.probes import InThread
from ktstr_tui.control.replay import emitted_by_tick, replay
from ktstr_tui.link.recfile import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Capture, Command
from ktstr_tui.model.control import PendingAction, ResumeWatch

pytestmark = pytest.mark.guest
SAMPLES = 20
"""So many are seen before the kill that some of them are on disk."""
CONFIG = RunConfig(scenario="tour", captures=3, duration_s=20.0)


def decided_again(recorded: list[ev.Event]) -> int:
    """Fold a recording again and compare state and actions; returns the number of ticks."""
    emitted, ticks = emitted_by_tick(recorded), 0
    for tick in replay(recorded):
        ticks += 1
        assert tick.same_state, tick.tick
        assert [(it.id, msgspec.msgpack.encode(it.action)) for it in tick.actions] == emitted[tick.tick]
    return ticks


class Raises:
    name, every_s = "raises", 0.0

    async def read(self) -> Mapping[str, float | None]:
        raise RuntimeError("chaos")


def _hang() -> Mapping[str, float | None]:
    time.sleep(3600)  # in a thread that is left behind
    return {}


class Chaos(Session):
    """A run in which probes raise and hang, the dispatcher fails at times, and the loop's queue is flooded."""

    def upset(self) -> None:
        control = self._control
        control.loop.probes.install(Raises())
        control.loop.probes.install(InThread("hangs", 0.0, _hang))
        dispatcher = control.executor._dispatcher
        dispatch = dispatcher.dispatch

        async def failing(pending: PendingAction) -> Any:  # noqa: ANN401
            if isinstance(pending.action, ResumeWatch):
                raise ZeroDivisionError("chaos")
            return await dispatch(pending)

        dispatcher.dispatch = failing  # type: ignore[method-assign]

    async def torment(self) -> None:
        desk, stream = self._control.desk, self.stream
        running = trio.Event()

        def look(event: ev.Event, data: bytes) -> None:
            if isinstance(event, ev.StepStarted):
                running.set()

        stream.add_sink(look)
        await running.wait()
        for _ in range(5000):
            stream.emit(ev.Logged(severity="info", source="chaos", text="flood"))
        for slot in range(1, 5):
            with pytest.raises(Exception, match="chaos"):
                await desk.ask("chaos", ResumeWatch(slot=slot))
        reply = await desk.serve(Command(id=1, request=Capture(tag="after-chaos")))
        reply.raise_for_error()


async def test_probes_that_raise_and_hang_a_failing_dispatcher_and_a_full_queue_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    prepared = await prepare(CONFIG, lambda line: None)
    with take_place("chaos", "tour") as place:
        session = Chaos(CONFIG, prepared, place)
        session.upset()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.torment)
            state = await session.run(lambda place: None)
            nursery.cancel_scope.cancel()
        recorded = list(read_recording(place.data_dir / "recording.ktstr"))
    assert state.ended is not None
    assert state.control.broken_probes["raises"] == "RuntimeError: chaos"
    assert state.control.broken_probes["hangs"]
    assert state.control.events_lost > 0
    assert state.drops["executor.action-failed: watch-resume"] == 4
    assert any(it.report.tag == "after-chaos" for it in state.captures)
    assert state.control.open == {}
    assert decided_again(recorded) > 100


def test_a_backend_that_is_killed_leaves_a_recording_that_is_decided_again(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    program = [sys.executable, "-m", "ktstr_tui.cli.main"]
    arguments = ["run", "--scenario", "tour", "--headless", "--name", "killed"]
    with subprocess.Popen([*program, *arguments], env=environment, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        assert any("attach with" in line for line in iter(run.stderr.readline, ""))
        watch = [*program, "events", "killed", "--json", "--follow"]
        with subprocess.Popen(watch, env=environment, stdout=subprocess.PIPE, text=True) as events:
            assert events.stdout is not None
            samples = (
                line
                for line in iter(events.stdout.readline, "")
                if '"type":"sample"' in line.replace(" ", "")
            )
            assert len(list(islice(samples, SAMPLES))) == SAMPLES
            run.send_signal(signal.SIGKILL)
            events.kill()
    (path,) = tmp_path.glob("ktstr-tui/runs/killed-*/recording.ktstr")
    left = list(read_recording(path))
    assert [it.seq for it in left] == list(range(1, len(left) + 1))
    assert any(isinstance(it, ev.Sampled) for it in left)
    assert not any(isinstance(it, ev.RunEnded) for it in left)
    assert decided_again(left) > 10
