"""Noticing that the host does not run the guest."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.health.standstill import LOOK_S, HostProcess, Standstill, Unobservable
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HostStood

MS = 1_000_000


class Rig:
    """A process in a procfs of the test's own, and a clock that it moves."""

    def __init__(self, proc: Path) -> None:
        self.proc, self.now_ns = proc, 0
        self.waited = {11: 0, 12: 0}
        (proc / "10").mkdir()
        for thread in self.waited:
            (proc / "10/task" / str(thread)).mkdir(parents=True)
        self.write("S")
        self.events: list[Event] = []
        self.process = HostProcess(10, [11, 12], proc)
        self.host = Standstill(self.process, self.events.append, lambda: self.now_ns)

    def write(self, state: str) -> None:
        (self.proc / "10/stat").write_text(f"10 (qemu) x) {state} 1 10")
        for thread, waited_ns in self.waited.items():
            (self.proc / "10/task" / str(thread) / "schedstat").write_text(f"5 {waited_ns} 7")

    def pass_time(self, ms: int, *, state: str = "S", waited_ms: int = 0, every_ms: int = 250) -> None:
        for _ in range(ms // every_ms):
            self.now_ns += every_ms * MS
            self.waited[12] += waited_ms * MS * every_ms // ms
            self.write(state)
            self.host.look()

    def stood(self) -> list[tuple[int, int, str]]:
        found = [event for event in self.events if isinstance(event, HostStood)]
        return [(it.start_ns // MS, it.end_ns // MS, it.reason) for it in found]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_guest_that_runs_or_sleeps_is_left_alone(rig: Rig) -> None:
    rig.pass_time(10_000, waited_ms=5_000)
    assert rig.events == []


def test_a_stopped_qemu_is_an_alert_and_then_a_stretch(rig: Rig) -> None:
    rig.pass_time(1000)
    rig.pass_time(3000, state="T")
    alert = rig.events[-1]
    assert isinstance(alert, AlertRaised)
    assert (alert.key, alert.text) == ("host", "QEMU was stopped")
    assert [rig.host.now] == [True]
    rig.pass_time(500)
    assert AlertCleared(key="host", kind="host") in rig.events
    assert rig.stood() == [(1000, 4000, "QEMU was stopped")]
    assert not rig.host.now
    assert rig.host.between_ns(0, 2000 * MS) == 1000 * MS


def test_a_vcpu_that_waits_for_a_cpu_most_of_the_time(rig: Rig) -> None:
    rig.pass_time(2000, waited_ms=1980)
    rig.pass_time(250)
    assert rig.stood() == [(0, 2000, "the host gave a vCPU no CPU")]


def test_a_vcpu_that_shares_a_busy_host_is_no_standstill(rig: Rig) -> None:
    rig.pass_time(4000, waited_ms=3500)
    rig.pass_time(250)
    assert rig.events == []


def test_a_look_that_comes_much_too_late(rig: Rig) -> None:
    rig.pass_time(5000, every_ms=5000)
    rig.pass_time(250)
    assert rig.stood() == [(0, 5000, "the host did not run this program (paused or overloaded)")]


def test_short_stretches_are_not_worth_a_word(rig: Rig) -> None:
    rig.pass_time(250, state="T")
    rig.pass_time(250)
    assert rig.events == []


def test_a_process_that_is_gone_says_nothing(rig: Rig) -> None:
    (rig.proc / "10/stat").unlink()
    for thread in rig.waited:
        (rig.proc / "10/task" / str(thread) / "schedstat").unlink()
    rig.now_ns += 250 * MS
    rig.host.look()
    assert rig.events == []


async def test_the_end_of_the_run_ends_the_stretch(rig: Rig, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.host.run)
        rig.pass_time(1000, state="T")
        rig.host.finish()
        await trio.sleep(LOOK_S * 2)
    assert rig.stood() == [(0, 1000, "QEMU was stopped")]


class Freezer:
    frozen = False
    polls = 0

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        return 7

    def poll(self) -> None:
        self.polls += 1


def test_nothing_is_sampled_while_the_guest_is_frozen_or_not_run(rig: Rig) -> None:
    freezer = Freezer()
    either = Unobservable(freezer, rig.host)
    assert [either.frozen] == [False]
    rig.pass_time(1000, state="T")
    assert [either.frozen] == [True]
    assert either.frozen_between_ns(0, 1000 * MS) == 7 + 1000 * MS
    rig.pass_time(250)
    freezer.frozen = True
    assert [either.frozen] == [True]
    either.poll()
    assert freezer.polls == 1
