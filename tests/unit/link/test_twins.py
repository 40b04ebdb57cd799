"""The commands that look at a run and touch it: standard output is data, standard error narration."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.cli.attach import find_run, pick_run
from ktstr_tui.cli.control import capture_command, end_command, freeze_command, thaw_command
from ktstr_tui.cli.events import events_command
from ktstr_tui.cli.status import status_command
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.runs import RunRecord
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Capture, Captured, Command, Freeze, Reply, Thaw
from ktstr_tui.model.errors import GuestError, HostError, UsageError
from ktstr_tui.model.facts import RunInfo
from ktstr_tui.model.report import CaptureReport, Pause
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.wire.codec import encode_event
from tests.unit.link.backend import PATIENCE_S, Backend, logs

INFO = RunInfo(
    name="tour",
    run_id="abc",
    kernel="7.2.12",
    kernel_path="/boot/vmlinuz",
    accelerator="tcg",
    accelerator_reason="no kvm",
    topology="1n1l2c1t",
    memory_bytes=512 << 20,
    scenario="tour",
    scheduler="none",
)
TASK = RunnableTask(pid=42, comm="spin", age_ms=5314.0, cpu=1, dsq="0x7")
SCHEDULER = SchedulerSample(
    name="stall", state="enabled", exit_kind=0, watchdog_timeout_ms=4000.0, oldest_runnable=TASK
)
CPU = CpuSample(cpu=0, curr_pid=7, curr_comm="spin\x1b[31m", curr_class="ext", nr_running=3, scx_nr_running=2)
REPORT = CaptureReport(tag="key-001", trigger="on-demand", pause=Pause(total_us=8200.0), stalled=TASK)
STORY: list[ev.Event] = [
    ev.RunStarted(info=INFO, mono_ns=1_000_000_000),
    ev.Sampled(sample=Sample(cpus=(CPU, CpuSample(cpu=1, unreadable="torn")), scheduler=SCHEDULER)),
    ev.HealthChanged(verdict="stalled", reasons=("CPU 1",)),
    ev.CaptureTaken(report=REPORT, path="/data/key-001.json"),
]


async def handle(command: Command) -> Reply:
    match command.request:
        case Capture(tag="bad"):
            raise GuestError("capture bad failed: gdbstub is gone")
        case Capture(tag="broken"):
            lacks = "tasks: the runnable list of CPU 1 is damaged"
            path = "/data/broken.json"
            return command.done(
                Captured(
                    tag="broken", path=path, tasks=7, lacks=lacks, pause_us=None, step=None, elapsed_ms=None
                )
            )
        case Capture(tag=tag):
            tag = tag or "key-001"
            answer = Captured(
                tag=tag, path=f"/data/{tag}.json", tasks=0, pause_us=8200.0, step=None, elapsed_ms=None
            )
            return command.done(answer)
        case Thaw():
            raise GuestError("the guest has not started", "start one")
    return command.done(changed=not isinstance(command.request, Freeze))


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "ktstr"


@pytest.fixture
def backend(runtime: Path) -> Iterator[Backend]:
    place = runtime / "tour"
    place.mkdir(parents=True)
    runtime.chmod(0o700)
    (place / "run.json").write_bytes(msgspec.json.encode(RunRecord(name="tour", pid=os.getpid())))
    with Backend(place, handle) as made:
        made.emit(*STORY)
        yield made


def test_status_is_one_object(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    status_command(None, True)
    status = json.loads(capsys.readouterr().out)
    assert (status["name"], status["accelerator"], status["verdict"]) == ("tour", "tcg", "stalled")
    assert status["scheduler"]["oldest_runnable"]["age_ms"] == 5314.0
    assert status["cpus"][1]["nr_running"] is None
    assert status["captures"][0]["first_stalled"] == {
        "pid": 42,
        "comm": "spin",
        "age_ms": 5314.0,
        "dsq": "0x7",
    }
    assert status["ended"] is None


def test_status_for_people(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    status_command("tour", False)
    out = capsys.readouterr().out
    assert "scheduler  stall, enabled; spin[42] runnable for 5.314 s of 4 s" in out
    assert "condition  stalled" in out
    assert "health     stalled (CPU 1)" in out
    assert "nr_run=3 scx=2" in out
    assert "unreadable: torn" in out
    assert "\x1b" not in out


def test_events_as_json(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    events_command("tour", False, True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["seq"], line["type"]) for line in lines] == [
        (1, "run-started"),
        (2, "sample"),
        (3, "health"),
        (4, "capture"),
    ]


def test_events_for_people_follow_to_the_end(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    async def follow() -> None:
        following = asyncio.create_task(asyncio.to_thread(events_command, "tour", True, False))
        await backend.wait_viewers(1)
        backend.emit(*logs("late"), ev.RunEnded(exit_code=0, reason="done"))
        await following

    asyncio.run(follow())
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "     0.000   run        tour: 7.2.12 on no kvm, 1n1l2c1t"
    assert out[-1].endswith("run        ended with exit code 0: done")
    assert out[-2].endswith("test       late")


def _pid_of_nobody() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_following_a_backend_that_dies_is_an_error(backend: Backend, runtime: Path) -> None:
    async def follow() -> None:
        following = asyncio.create_task(asyncio.to_thread(events_command, "tour", True, True))
        await backend.wait_viewers(1)
        async with asyncio.timeout(PATIENCE_S):
            while backend.statistics().requests < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.to_thread(backend.stop)
        gone = RunRecord(name="tour", pid=_pid_of_nobody())
        (runtime / "tour" / "run.json").write_bytes(msgspec.json.encode(gone))
        with pytest.raises(HostError, match="the backend is gone"):
            async with asyncio.timeout(PATIENCE_S):
                await following

    asyncio.run(follow())


def recording(path: Path) -> Path:
    stream = Stream()
    sent = [stream.emit(event) for event in STORY]
    chunk = pack_chunk([RecordedEvent(event.seq, event.mono_ns, encode_event(event)) for event in sent])
    path.write_bytes(header("abc") + chunk + chunk[:50])
    return path


def test_events_of_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path / "recording.ktstr")
    with pytest.raises(HostError, match="is not whole: the end is cut off"):
        events_command(str(path), False, True)
    captured = capsys.readouterr()
    assert [json.loads(line)["seq"] for line in captured.out.splitlines()] == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="cannot be followed"):
        events_command(str(path), True, True)
    (tmp_path / "junk").write_text("x")
    with pytest.raises(UsageError, match="not a recording"):
        events_command(str(tmp_path / "junk"), False, True)


def test_holes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream = Stream()
    sent = [stream.emit(event) for event in logs(*"abcde")]
    kept = [RecordedEvent(event.seq, event.mono_ns, encode_event(event)) for event in (sent[0], sent[4])]
    (tmp_path / "r").write_bytes(header("abc") + pack_chunk(kept))
    with pytest.raises(HostError, match="is not whole: 3 events missing"):
        events_command(str(tmp_path / "r"), False, False)
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert captured.err == "events 2 to 4 are missing\n"


def test_capture_takes_the_report_from_the_stream(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    capture_command("tour", None, True)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["report"]["tag"], printed["path"]) == ("key-001", "/data/key-001.json")
    assert printed["report"]["stalled"]["pid"] == 42
    capture_command("tour", "mine", False)
    assert capsys.readouterr().out == "mine: 0 runnable tasks, paused 8.2 ms\n/data/mine.json\n"


def test_a_capture_whose_lists_are_broken_says_so(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    capture_command("tour", "broken", False)
    assert capsys.readouterr().out.splitlines() == [
        "broken: 7 runnable tasks (incomplete, tasks: the runnable list of CPU 1 is damaged), paused unknown",
        "/data/broken.json",
    ]


def test_a_failed_capture_is_an_error(backend: Backend) -> None:
    with pytest.raises(GuestError, match="capture bad failed: gdbstub is gone"):
        capture_command("tour", "bad", True)


def test_freeze_thaw_end(backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    freeze_command("tour", False)
    assert capsys.readouterr().out == "the guest was already frozen\n"
    end_command("tour", False)
    assert capsys.readouterr().out == "the run is ending\n"
    end_command("tour", True)
    assert json.loads(capsys.readouterr().out) == {"changed": True}
    with pytest.raises(GuestError, match="the guest has not started"):
        thaw_command("tour", False)


def test_which_run(backend: Backend, runtime: Path) -> None:
    assert find_run(None) == runtime / "tour"
    assert pick_run(None) == runtime / "tour"
    assert find_run(str(runtime / "tour" / "events.sock")) == runtime / "tour" / "events.sock"
    with pytest.raises(UsageError):
        status_command("other", True)
