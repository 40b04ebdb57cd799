"""Events as lines: what a terminal gets to see."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from ktstr_tui.cli import events
from ktstr_tui.cli.events import EventPrinter, events_command
from ktstr_tui.cli.screen import replay_command
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.replay import Replay
from ktstr_tui.link.runs import RunRecord
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import Event, Logged, OutputText, RunEnded, WatchpointHit
from ktstr_tui.model.report import RunningTask
from ktstr_tui.text.output import print_json
from ktstr_tui.tui import app
from ktstr_tui.wire.codec import encode_event
from tests.unit.link.backend import PATIENCE_S, Backend, logs

NASTY = "a\x1b[2J\x9b2J\x85\x7f b"


def test_json_says_the_same_and_holds_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    EventPrinter(as_json=True).print([OutputText(stream="stdout", text=NASTY, seq=1)])
    print_json({"comm": NASTY})
    out = capsys.readouterr().out
    assert not {*out} & {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"}
    line, rest = out.split("\n", 1)
    assert json.loads(line)["text"] == NASTY
    assert json.loads(rest) == {"comm": NASTY}


def test_a_hit_of_a_watch_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    writer = RunningTask(cpu=1, pid=7, comm="spin\x1b", sched_class="ext")
    hits = [
        WatchpointHit(slot=1, expression="jiffies", vcpu=1, value=0x11, old=0x10, writer=writer, seq=1),
        WatchpointHit(slot=2, expression="panic_timeout", vcpu=None, seq=2),
    ]
    EventPrinter(as_json=False).print(hits)
    first, second = capsys.readouterr().out.splitlines()
    assert "slot 1: jiffies: 0x10 -> 0x11 by spin" in first
    assert first.endswith("[7] on CPU 1")
    assert "\x1b" not in first
    assert second.endswith("slot 2: panic_timeout: ? -> ?")


def recording(path: Path, *seqs: int, end: bool = True) -> Path:
    made: list[Event] = [Logged(severity="info", source="t", text="t", seq=seq, mono_ns=seq) for seq in seqs]
    if end:
        made.append(RunEnded(exit_code=0, reason="over", seq=seqs[-1] + 1, mono_ns=seqs[-1] + 1))
    packed = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in made]
    path.write_bytes(header("run-1") + pack_chunk(packed))
    return path


@pytest.mark.parametrize("as_json", [False, True])
def test_a_recording_that_is_not_whole_is_printed_and_then_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    events_command(str(recording(tmp_path / "whole", 1, 2)), follow=False, as_json=as_json)
    assert capsys.readouterr().err == ""
    cut = recording(tmp_path / "cut", 1, 2, 5, end=False)
    with pytest.raises(
        HostError, match=r"cut is not whole: 2 events missing, the end of the run is not in it"
    ):
        events_command(str(cut), follow=False, as_json=as_json)
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_replay_of_a_recording_that_is_not_whole_says_so_from_the_start_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []

    class Screen:
        back = None

        def __init__(self, source: Replay, **_: object) -> None:
            self._source = source
            self.view = SimpleNamespace()

        def exit(self, _: str) -> None:
            """Nobody sends a signal."""

        async def run_async(self, *, headless: bool = False) -> str:
            told.append(self._source.connection_reason)
            played, taken = asyncio.Event(), 0

            def on_events(events: Sequence[object]) -> None:
                nonlocal taken
                taken += len(events)
                if taken >= 2:
                    played.set()

            playing = asyncio.create_task(self._source.run(on_events))
            await played.wait()
            playing.cancel()
            await asyncio.wait([playing])
            return "leave"

    monkeypatch.setattr(app, "KtstrApp", Screen)
    monkeypatch.setattr("ktstr_tui.cli.screen.require_terminal", lambda _: None)
    replay_command(recording(tmp_path / "whole", 1, 2), 16.0)
    left = f"run whole: over (exit code 0); replay it with: ktstr-tui replay {tmp_path / 'whole'}\n"
    assert capsys.readouterr().err == left
    with pytest.raises(HostError, match=r"cut is not whole: the end of the run is not in it"):
        replay_command(recording(tmp_path / "cut", 1, 2, end=False), 16.0)
    assert told == ["", "the end of the run is not in it"]
    assert "replay it with" not in capsys.readouterr().err, "how that run ended is not known"


class Said:
    """What the command prints and says, and a way to wait for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self._more = asyncio.Event()
        monkeypatch.setattr(events, "say", self._say)
        monkeypatch.setattr(events, "print_line", self._say)
        monkeypatch.setattr(events, "_LOOK_S", 0.01)

    def _say(self, text: str) -> None:
        self.lines.append(text)
        self._more.set()

    async def until(self, words: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(words in line for line in self.lines):
                self._more.clear()
                await self._more.wait()


def test_following_waits_for_a_backend_that_is_gone_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        said = Said(monkeypatch)
        stream = Stream(run_id="one")
        with Backend(tmp_path, stream=stream) as backend:
            backend.emit(*logs("first"))
            following = asyncio.create_task(events._print_run(tmp_path, follow=True, as_json=False))
            await said.until("first")
            await backend.wait_viewers(1)
            await asyncio.to_thread(backend.stop)
        await said.until("the backend is gone")
        assert not following.done()
        with Backend(tmp_path, stream=stream) as backend:
            await said.until("connected again")
            backend.emit(*logs("second"))
            await said.until("second")
            await asyncio.to_thread(backend.stop)
        with Backend(tmp_path, stream=Stream(run_id="two")) as backend:
            await said.until("another run responds here now; its events follow from number 1 on")
            backend.emit(*logs("third"), RunEnded(exit_code=0, reason="over"))
            async with asyncio.timeout(PATIENCE_S):
                await following

        await said.until("third")
        await said.until("ended with exit code 0: over")

    asyncio.run(scenario())


def test_following_a_run_that_was_killed_ends_and_names_its_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = RunRecord(name="x", pid=process.pid, data_dir=str(tmp_path))
    (tmp_path / "run.json").write_bytes(msgspec.json.encode(record))
    (tmp_path / "recording.ktstr").touch()

    async def scenario() -> None:
        said = Said(monkeypatch)
        with Backend(tmp_path) as backend:
            backend.emit(*logs("first"))
            following = asyncio.create_task(events._print_run(tmp_path, follow=True, as_json=False))
            await said.until("first")
            await backend.wait_viewers(1)
            await asyncio.to_thread(backend.stop)
        await said.until("the backend is gone")
        process.kill()
        process.communicate()
        with pytest.raises(HostError, match="the run was killed") as error:
            async with asyncio.timeout(PATIENCE_S):
                await following
        assert str(tmp_path / "recording.ktstr") in error.value.hint

    asyncio.run(scenario())
