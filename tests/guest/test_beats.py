"""Heartbeats of a real guest: who starves is reported, for the right reason, and nobody else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.link.recording import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from tests.guest.runs import call_json, private_environment

START_S = 120
END_S = 180
REPORTED_WITHIN_MS = 250.0
"""After the threshold."""
HUNGER = """
name = "hunger"
[[steps]]
name = "starve"
duration_ms = 12000
scheduler = "demo:starve"
[[steps.workers]]
kind = "spin"
affinity = [1]
[[steps.workers]]
kind = "spin"
affinity = [0]
"""
STALL = """
name = "stalling"
[[steps]]
name = "stall"
duration_ms = 14000
scheduler = "demo:stall"
[[steps.workers]]
kind = "spin"
"""
IDLE = """
name = "idle"
[[steps]]
name = "idle"
duration_ms = 600000
scheduler = "none"
"""
HEALTH = """
name = "health"
[[workers]]
kind = "spin"
affinity = [1]
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "bursty"
[[workers]]
kind = "pipe"
[[workers]]
kind = "sleep"

[[steps]]
name = "baseline"
duration_ms = 8000
scheduler = "none"
[[steps]]
name = "fifo"
duration_ms = 12000
scheduler = "demo:fifo"
"""


class Backend:
    """A backend process and where its run lives."""

    def __init__(self, process: trio.Process, ready: dict[str, Any], env: dict[str, str]) -> None:
        self.process = process
        self.name: str = ready["name"]
        self.socket_dir = Path(ready["socket_dir"])
        self.data_dir = Path(ready["data_dir"])
        self.env = env

    def events(self) -> list[ev.Event]:
        """What it has recorded so far."""
        return list(read_recording(self.data_dir / "recording.ktstr"))

    async def status(self) -> dict[str, Any]:
        """What ``ktstr-tui status`` says."""
        status: dict[str, Any] = await self.call("status")
        return status

    async def call(self, command: str) -> Any:  # noqa: ANN401
        """Run a command on the run."""
        return await trio.to_thread.run_sync(lambda: call_json(command, self.name, env=self.env))

    async def until_step(self, name: str) -> None:
        """Wait until a step of the scenario has begun."""
        with trio.fail_after(START_S):
            while (await self.status())["step"] != name:  # noqa: ASYNC110 - another process
                await trio.sleep(0.2)

    async def end(self) -> list[ev.Event]:
        """Wait for the end; all events."""
        with trio.fail_after(END_S):
            await self.process.wait()
        return self.events()


@asynccontextmanager
async def backend(tmp_path: Path, scenario: str, beats: BeatsConfig, **more: Any) -> AsyncIterator[Backend]:  # noqa: ANN401
    """A run in a backend process, as the screen starts it; gone afterwards."""
    (tmp_path / "scenario.toml").write_text(scenario)
    config = RunConfig(scenario=str(tmp_path / "scenario.toml"), beats=beats, **more)
    env = private_environment(tmp_path)
    here, there = os.pipe()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "ktstr_tui.backend", str(there)],
        stdin=subprocess.PIPE,
        env=env,
        pass_fds=(there,),
    )
    os.close(there)
    try:
        assert process.stdin is not None
        await process.stdin.send_all(msgspec.json.encode(config))
        await process.stdin.aclose()
        yield Backend(process, await _ready(here), env)
    finally:
        os.close(here)
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _ready(fd: int) -> dict[str, Any]:
    text = ""
    with trio.fail_after(START_S):
        while True:
            text += (await trio.to_thread.run_sync(os.read, fd, 65536)).decode()
            for line in text.splitlines():
                message = json.loads(line)
                assert "error" not in message, message
                if "ready" in message:
                    found: dict[str, Any] = message["ready"]
                    return found


def folded(events: list[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        fold(state, event)
    return state


def step_of(events: list[ev.Event], event: ev.Event) -> str:
    """The step in which an event fell."""
    began = [it for it in events if isinstance(it, ev.StepStarted) and it.mono_ns <= event.mono_ns]
    return began[-1].name if began else ""


def last_progress_ns(events: list[ev.Event], stall: ev.BeatStalled) -> int | None:
    """The first of the worker's own reports that already showed all it had done when it stalled.

    None when no report came between what it did last and the stall.
    """
    reports = [
        (it.mono_ns, worker.iterations)
        for it in events
        if isinstance(it, ev.WorkersReported)
        for worker in it.workers
        if worker.pid == stall.pid
    ]
    # A stalled worker does nothing, so the next report shows what it had.
    final = next((done for mono_ns, done in reports if mono_ns > stall.mono_ns), None)
    return next(
        (mono_ns for mono_ns, done in reports if done == final and mono_ns <= stall.mono_ns),
        None,
    )


async def test_who_starves_is_reported_in_time_and_for_the_right_reason(tmp_path: Path) -> None:
    threshold_ms = 1000.0
    beats = BeatsConfig(threshold_ms=threshold_ms, capture_on_stall=True)
    async with backend(tmp_path, HUNGER, beats) as run:
        events = await run.end()
    stalls = [event for event in events if isinstance(event, ev.BeatStalled)]
    starved = [it for it in stalls if step_of(events, it) == "starve" and it.last_nonce > 0]
    assert starved, "demo:starve serves CPU 1 every six seconds only"
    for stall in starved:
        cause = stall.cause
        assert cause is not None
        assert stall.comm == "spin-0", "the other spinner is on the CPU that is served"
        assert (cause.kind, cause.dsq, cause.cpus_allowed, cause.cpu) == ("runnable", "0x13", "1", 1)
        assert f"{stall.comm}[{stall.pid}] silent" in stall.text
        assert "in DSQ 0x13, allowed CPUs 1, running there: " in stall.text
        # The worker's own reports agree that it did nothing, and bound how late the stall was stated.
        most_ms = threshold_ms + REPORTED_WITHIN_MS
        progress_ns = last_progress_ns(events, stall)
        assert progress_ns is None or (stall.mono_ns - progress_ns) / 1e6 <= most_ms
        # So does the kernel's own account of how long the task has waited.
        assert cause.waiting_ms is not None
        assert threshold_ms - 150 <= cause.waiting_ms <= most_ms
        assert threshold_ms <= stall.silent_ms <= most_ms
    recovered = [event for event in events if isinstance(event, ev.BeatRecovered)]
    assert any(it.comm == "spin-0" and step_of(events, it) == "starve" for it in recovered)


async def test_recovery_follows_when_the_scheduler_is_gone(tmp_path: Path) -> None:
    beats = BeatsConfig(threshold_ms=1000, capture_on_stall=True)
    async with backend(tmp_path, STALL, beats) as run:
        events = await run.end()
    (stall,) = [event for event in events if isinstance(event, ev.BeatStalled)]
    (recovery,) = [event for event in events if isinstance(event, ev.BeatRecovered)]
    ejected = next(it for it in events if isinstance(it, ev.SchedulerChanged) and it.change == "ejected")
    assert stall.cause is not None
    assert (stall.cause.kind, stall.cause.dsq) == ("runnable", "0x7")
    assert stall.mono_ns < ejected.mono_ns < recovery.mono_ns
    assert recovery.silent_ms >= 3000, "the watchdog acts after three seconds"
    state = folded(events)
    (silence,) = state.beats.silences
    assert (silence.over, silence.silent_ms) == (True, recovery.silent_ms)
    assert not [key for key in state.alerts if key.startswith("beat")]
    (capture,) = [it for it in state.captures if it.report.trigger == "stall"]
    alert = [it for it in events if isinstance(it, ev.AlertRaised) and it.capture == capture.report.tag]
    assert alert[0].pid == stall.pid


async def test_nobody_is_reported_while_all_beat(tmp_path: Path) -> None:
    async with backend(tmp_path, HEALTH, BeatsConfig(), captures=6) as run:
        await run.until_step("baseline")
        assert (await run.call("freeze"))["changed"]
        await trio.sleep(3)
        assert (await run.call("thaw"))["changed"]
        await run.until_step("fifo")
        os.kill(run.process.pid, signal.SIGSTOP)
        await trio.sleep(3)
        os.kill(run.process.pid, signal.SIGCONT)
        events = await run.end()
    state = folded(events)
    assert state.ended is not None
    assert state.ended.exit_code == 0, state.ended.reason
    assert len(state.captures) >= 6
    assert state.beats.stalls == 0, [it.text for it in state.beats.silences]
    told = [event for event in events if isinstance(event, ev.BeatsObserved)]
    assert max(event.tracked for event in told) == 8, "seven workers and the guest program"
    assert {row.origin for event in told for row in event.rows} == {"hypervisor"}
    assert {row.comm for event in told for row in event.rows} >= {"spin-0", "pipe-1", "ktstr-agent"}
    assert state.beats.refused == 0


def last_of_host(events: list[ev.Event]) -> int | None:
    """The last beat of the sender of the host that fell silent, which was known when it did."""
    stalls = [event for event in events if isinstance(event, ev.BeatStalled) and event.domain == "host"]
    return stalls[-1].last_nonce if stalls else None


async def test_programs_of_the_host_beat_to_the_runs_socket(tmp_path: Path) -> None:
    # No limit of the rate: beats that a busy backend takes together would count as too fast.
    beats = BeatsConfig(threshold_ms=500, max_rate_per_pid=0, metrics_port=0)
    async with backend(tmp_path, IDLE, beats) as run:
        assert (run.socket_dir / "beats.sock").is_socket(), "a run that is ready takes beats"
        script = (
            "import json, sys, time; from ktstr_tui.heartbeat.client import BeatClient\n"
            "client = BeatClient.unix(sys.argv[1])\n"
            "for _ in range(20): client.beat(payload=7); time.sleep(0.05)\n"
            "print(json.dumps(client.counts))"
        )
        done = await trio.run_process(
            [sys.executable, "-c", script, str(run.socket_dir / "beats.sock")], capture_stdout=True
        )
        # A sender does not wait for a backend that has no time to read, but knows how often that was.
        counts = json.loads(done.stdout)
        assert counts["sent"] + counts.get("kernel queue full", 0) == 20
        with trio.fail_after(START_S):
            while last_of_host(run.events()) != counts["sent"]:  # noqa: ASYNC110 - another process
                await trio.sleep(0.2)
        run.process.terminate()
        events = await run.end()
    stalls = [event for event in events if isinstance(event, ev.BeatStalled) and event.domain == "host"]
    assert {(stall.origin, stall.cause) for stall in stalls} == {("kernel", None)}
    told = [event for event in events if isinstance(event, ev.BeatsObserved)]
    (row,) = [row for row in told[-1].rows if row.domain == "host"]
    assert row.nonce == row.beats == counts["sent"], "what was sent has come, and nothing else"
    assert (row.gaps, row.missed, row.payload) == (0, 0, 7)
