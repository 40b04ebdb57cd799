"""The heartbeats of a run without a machine: what becomes of observations, and what the guest's frames move."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
import trio.testing

from ktstr_tui.health.beats import RunBeats
from ktstr_tui.health.silences import CAPTURE_EVERY_NS
from ktstr_tui.heartbeat.client import SENT, BeatClient
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.heartbeat.intake import open_host_socket, open_intake
from ktstr_tui.heartbeat.metric_table import all_metrics
from ktstr_tui.heartbeat.news import GUEST_PROGRAM_PID, MAX_ALERTS
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import RunState
from ktstr_tui.port import actions as act
from ktstr_tui.wire.messages import Stimulus, WorkerReport, WorkerSample
from ktstr_tui.wire.vlp import Beat, Status, encode

S = 1_000_000_000


class FakeFreezer:
    """Takes captures at once; the guest stands when told so."""

    def __init__(self) -> None:
        self.captures: list[str] = []
        self.frozen: tuple[int, int] = (0, 0)

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        return max(0, min(end_ns, self.frozen[1]) - max(start_ns, self.frozen[0]))

    async def capture(self, trigger: Trigger, detail: str = "", tag: str | None = None) -> CaptureReport:
        await trio.lowlevel.checkpoint()
        self.captures.append(detail)
        return CaptureReport(tag=f"{trigger}-{len(self.captures):03d}", trigger=trigger)


class Rig:
    """Heartbeats of a run whose time is the test's."""

    def __init__(self, tmp_path: Path, config: BeatsConfig, nursery: trio.Nursery) -> None:
        self.events: list[ev.Event] = []
        self.freezer = FakeFreezer()
        self.port, self.guest_end = socket.socketpair()
        self.state = RunState()
        self._stack = ExitStack()
        intake = self._stack.enter_context(
            open_intake(
                config,
                self._stack.enter_context(open_host_socket(config, tmp_path, self._emit)),
                self._emit,
                self.freezer.frozen_between_ns,
                clock=lambda: int(trio.current_time() * S),
            )
        )
        self.beats = RunBeats(config, self._emit, nursery, self.freezer, intake, tmp_path, self.port.fileno())
        self.handle = self.beats.handle

    def close(self) -> None:
        self._stack.close()
        self.port.close()
        self.guest_end.close()

    def _emit(self, event: ev.Event) -> None:
        self.events.append(event)
        fold(self.state, event)

    def guest_beats(self, *pids: int, nonce: int = 1) -> None:
        frames = (encode(Beat(Status.OK, pid, 1, nonce)) for pid in pids)
        self.handle(act.BeatsReceived(b"".join(frames)))

    def of(self, kind: type[ev.Event]) -> list[ev.Event]:
        return [event for event in self.events if isinstance(event, kind)]


MakeRig = Callable[..., Rig]
Clock = trio.testing.MockClock


@pytest.fixture
async def make_rig(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[MakeRig]:
    """Makes rigs."""
    made: list[Rig] = []

    def make(**config: object) -> Rig:
        made.append(Rig(tmp_path, BeatsConfig(**config), nursery))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for rig in made:
        rig.close()


def workers(*named: tuple[int, str]) -> act.WorkersSeen:
    return act.WorkersSeen(WorkerReport(tuple(WorkerSample(pid, 1, comm) for pid, comm in named)))


async def test_rows_stalls_and_recoveries_reach_the_stream(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    await nursery.start(rig.beats.run)
    rig.handle(workers((40, "spin-0")))
    rig.guest_beats(40, GUEST_PROGRAM_PID)
    await trio.sleep(0.9)
    rig.guest_beats(GUEST_PROGRAM_PID, nonce=2)
    (row, program) = rig.state.beats.rows
    assert (row.comm, row.pid, row.origin, row.domain) == ("spin-0", 40, "hypervisor", "guest")
    assert (program.comm, program.pid) == ("ktstr-agent", 1), "the guest program is shown by its true pid"
    await trio.sleep(0.3)
    (stall,) = rig.of(ev.BeatStalled)
    assert isinstance(stall, ev.BeatStalled)
    assert stall.text.endswith("cause unknown: the kernel's BTF is not loaded yet")
    assert 1000 <= stall.silent_ms <= 1150
    assert list(rig.state.alerts) == ["beat-guest-40"]
    await trio.sleep(0.5)
    rig.guest_beats(40, GUEST_PROGRAM_PID, nonce=3)
    await trio.sleep(0.1)
    (recovery,) = rig.of(ev.BeatRecovered)
    assert isinstance(recovery, ev.BeatRecovered)
    assert 1650 <= recovery.silent_ms <= 1800
    assert rig.state.alerts == {}
    assert rig.state.beats.silences[0].over


async def test_frozen_time_is_no_silence(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    await nursery.start(rig.beats.run)
    rig.guest_beats(40)
    now_ns = int(trio.current_time() * S)
    rig.freezer.frozen = (now_ns, now_ns + 30 * S)
    await trio.sleep(30.9)
    assert rig.of(ev.BeatStalled) == []
    await trio.sleep(0.3)
    assert len(rig.of(ev.BeatStalled)) == 1


async def test_a_steps_end_is_nobodys_silence(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    await nursery.start(rig.beats.run)
    rig.handle(workers((40, "spin-0"), (41, "spin-1")))
    rig.guest_beats(40)
    await trio.sleep(1.2)
    assert {event.comm for event in rig.of(ev.BeatStalled) if isinstance(event, ev.BeatStalled)} == {
        "spin-0",
        "spin-1",
    }, "one fell silent, one never beat"
    rig.handle(act.StepEnded(Stimulus(elapsed_ms=1, step_index=0)))
    assert rig.state.alerts == {}
    assert all(silence.over for silence in rig.state.beats.silences)
    await trio.sleep(5)
    assert len(rig.of(ev.BeatStalled)) == 2
    rig.guest_beats(40, nonce=1)
    rig.handle(act.Exited(0))
    rig.guest_beats(40, nonce=2)
    await trio.sleep(5)
    assert len(rig.of(ev.BeatStalled)) == 2, "after its last word the guest is expected to be silent"


async def test_a_backlog_in_the_port_is_read_before_silence_is_stated(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    rig.guest_beats(40)
    reads = 0

    async def read_port() -> None:
        nonlocal reads
        with trio.socket.from_stdlib_socket(rig.port.dup()) as port:
            while await port.recv(32):
                reads += 1
                rig.guest_beats(40, nonce=1 + reads)

    rig.port.setblocking(False)
    rig.guest_end.sendall(bytes(32) * 20)
    nursery.start_soon(read_port)
    await nursery.start(rig.beats.run)
    for _ in range(5):
        await trio.sleep(0.9)
        rig.guest_end.sendall(bytes(32) * 20)
    assert rig.of(ev.BeatStalled) == []
    assert reads >= 80
    nursery.cancel_scope.cancel()


async def test_many_silences_are_few_alerts(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    await nursery.start(rig.beats.run)
    pids = range(100, 300)
    rig.guest_beats(*pids)
    await trio.sleep(1.3)
    assert len(rig.of(ev.BeatStalled)) == 200
    assert len(rig.state.alerts) == MAX_ALERTS + 1
    assert rig.state.alerts["beat-more"].text == f"{200 - MAX_ALERTS} more senders silent"
    rig.guest_beats(*pids, nonce=2)
    await trio.sleep(0.1)
    assert rig.state.alerts == {}
    assert len(rig.of(ev.BeatRecovered)) == 200
    assert rig.beats.drops()["silences-not-explained"] == 0


async def test_stalls_make_captures_but_not_many(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=1000.0, capture_on_stall=True)
    await nursery.start(rig.beats.run)
    rig.guest_beats(40, 41, 42)
    await trio.sleep(1.3)
    assert len(rig.freezer.captures) == 1
    assert rig.beats.drops()["captures-on-stall-skipped"] == 2
    assert rig.state.alerts["beat-guest-40"].capture == "stall-001"
    rig.guest_beats(40, nonce=2)
    await trio.sleep(CAPTURE_EVERY_NS / S)
    assert len(rig.freezer.captures) == 1
    rig.guest_beats(40, nonce=3)
    await trio.sleep(1.3)
    assert len(rig.freezer.captures) == 2


async def test_refusals_are_told_once_a_second_with_their_number(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig()
    await nursery.start(rig.beats.run)
    for _ in range(30):
        rig.handle(act.BeatsReceived(b"\xff" * 64))
        await trio.sleep(0.1)
    await trio.sleep(1)
    told = [event for event in rig.of(ev.BeatRefused) if isinstance(event, ev.BeatRefused)]
    assert 3 <= len(told) <= 5
    assert sum(event.count for event in told) == rig.state.beats.refused == 60
    assert rig.state.beats.counters['varta_decode_errors_total{kind="bad_magic"}'] == 60


async def test_events_of_rows_stay_rare(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    rig = make_rig(threshold_ms=60_000.0)
    await nursery.start(rig.beats.run)
    for nonce in range(1, 101):
        rig.guest_beats(*range(100, 200), nonce=nonce)
        await trio.sleep(0.1)
    told = [event for event in rig.of(ev.BeatsObserved) if isinstance(event, ev.BeatsObserved)]
    assert len(told) <= 10 * 5
    assert (told[-1].tracked, len(told[-1].rows)) == (100, 64)


async def test_a_host_program_beats_to_the_runs_socket(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock, tmp_path: Path
) -> None:
    rig = make_rig(threshold_ms=1000.0)
    await nursery.start(rig.beats.run)
    with BeatClient.unix(tmp_path / "beats.sock") as client:
        assert client.beat() == SENT
        await trio.sleep(1.3)
    (stall,) = rig.of(ev.BeatStalled)
    assert isinstance(stall, ev.BeatStalled)
    assert (stall.domain, stall.origin, stall.cause) == ("host", "kernel", None)
    assert (tmp_path / "heartbeat").read_text().split()[0].isdigit()


async def test_a_beat_that_was_sent_before_the_observers_run_waits_for_them(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock, tmp_path: Path
) -> None:
    rig = make_rig()
    with BeatClient.unix(tmp_path / "beats.sock") as client:
        assert client.beat() == SENT
    await nursery.start(rig.beats.run)
    await trio.sleep(1)
    (row,) = rig.state.beats.rows
    assert (row.domain, row.nonce, row.beats) == ("host", 1, 1)


async def test_a_socket_that_cannot_be_had_does_not_end_the_run(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "beats.sock").write_text("exists and is not a socket")
    rig = make_rig()
    await nursery.start(rig.beats.run)
    (said,) = rig.of(ev.Logged)
    assert isinstance(said, ev.Logged)
    assert "no heartbeats from the host" in said.text


async def test_metrics_of_a_run(
    make_rig: MakeRig, nursery: trio.Nursery, autojump_clock: Clock, tmp_path: Path
) -> None:
    rig = make_rig(metrics_port=0)
    await nursery.start(rig.beats.run)
    rig.guest_beats(40, GUEST_PROGRAM_PID)
    await trio.sleep(0.6)
    text = rig.beats.render_metrics()
    assert 'varta_beats_total{domain="guest",pid="40"} 1' in text
    assert 'varta_beats_total{domain="guest",pid="1"} 1' in text
    assert 'varta_observer_stage_seconds_bucket{le="+Inf",stage="poll"} ' in text
    exported = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert exported == {metric.name: metric.kind for metric in all_metrics()}
    (said,) = [event for event in rig.of(ev.Logged) if isinstance(event, ev.Logged)]
    assert "http://127.0.0.1:" in said.text
    assert (tmp_path / "metrics.token").read_text().strip() not in said.text
