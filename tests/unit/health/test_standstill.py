"""Noticing that the host does not run the guest."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.health.host_load import HostLoad, HostProcess
from ktstr_tui.health.standstill import CALM_NS, LOOK_S, Standstill, Unobservable
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HostStood, Logged
from ktstr_tui.model.fold import fold
from ktstr_tui.model.host import HostPressure, HostWait, host_words
from ktstr_tui.model.state import RunState

MS = 1_000_000
CLEARED = AlertCleared(key="host", kind="host")


class Rig:
    """A process in a procfs of the test's own, and a clock that it moves."""

    def __init__(self, proc: Path) -> None:
        self.proc, self.now_ns = proc, 0
        self.waited = {11: 0, 12: 0}
        self.ran = {11: 5, 12: 5}
        self.turns = {11: 7, 12: 7}
        (proc / "10").mkdir()
        for thread in self.waited:
            (proc / "10/task" / str(thread)).mkdir(parents=True)
        self.write("S")
        self.events: list[Event] = []
        self.process = HostProcess(10, [11, 12], proc)
        self.host = Standstill(self.process, self.events.append, lambda: self.now_ns, HostLoad(proc))
        self.host.begin()

    def write(self, state: str) -> None:
        (self.proc / "10/stat").write_text(f"10 (qemu) x) {state} 1 10")
        for thread, waited_ns in self.waited.items():
            (self.proc / "10/task" / str(thread) / "schedstat").write_text(
                f"{self.ran[thread]} {waited_ns} {self.turns[thread]}"
            )

    def pass_time(self, ms: int, *, state: str = "S", waited_ms: int = 0, every_ms: int = 250) -> None:
        for _ in range(ms // every_ms):
            self.now_ns += every_ms * MS
            self.waited[12] += waited_ms * MS * every_ms // ms
            self.write(state)
            self.host.look()

    def busy(self, steal: int, others: int, cpu_waited_us: int) -> None:
        """Move the host's counters; of its pressures only that on CPUs is counted."""
        (self.proc / "stat").write_text(f"cpu  {others} 0 0 0 0 0 0 {steal} 0 0\ncpu0 1 2 3\n")
        (self.proc / "pressure").mkdir(exist_ok=True)
        some = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={cpu_waited_us}\n"
        (self.proc / "pressure/cpu").write_text(some + "full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n")
        (self.proc / "pressure/io").write_text("garbage\n")

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
    alert = rig.events[0]
    assert isinstance(alert, AlertRaised)
    assert (alert.key, alert.text) == ("host", "QEMU was stopped")
    assert rig.host.now == "QEMU is stopped"
    rig.pass_time(500)
    assert CLEARED not in rig.events, "it may come back"
    assert rig.stood() == [(1000, 4000, "QEMU was stopped")]
    assert rig.host.now == ""
    assert rig.host.between_ns(0, 2000 * MS) == 1000 * MS
    rig.pass_time(CALM_NS // MS)
    assert rig.events[-1] == CLEARED
    last = rig.events[-2]
    assert isinstance(last, AlertRaised)
    assert last.text.startswith("QEMU was stopped: no CPU for 3.0 s (host steal unknown")


def test_a_vcpu_that_waits_for_a_cpu_most_of_the_time(rig: Rig) -> None:
    rig.pass_time(2000, waited_ms=1980)
    rig.pass_time(250)
    assert rig.stood() == [(0, 2000, "the host gave a vCPU no CPU")]


def overload(rig: Rig, seconds: int) -> None:
    """Starve a vCPU for 0.75 s of each second, as an overloaded host does."""
    for _ in range(seconds):
        rig.pass_time(750, waited_ms=750)
        rig.pass_time(250, waited_ms=200)


def test_an_overloaded_host_is_one_alert_with_numbers_and_few_lines_in_the_log(rig: Rig) -> None:
    state = RunState()
    overload(rig, 60)
    rig.pass_time(2 * CALM_NS // MS)
    for event in rig.events:
        fold(state, event)
    alerts = [it for it in rig.events if isinstance(it, AlertRaised)]
    assert {it.key for it in alerts} == {"host"}
    assert len(alerts) <= 62, "one a second at most"
    assert rig.events.count(CLEARED) == 1
    assert len(rig.stood()) == len(state.host_stood) == 60, "each stretch is known exactly"
    *before, first, last = state.log
    assert [it.text[:30] for it in before] == ["the guest got no CPU for 0.8 s"] * 3, "more may not come"
    assert first.text == "the host gave a vCPU no CPU"
    assert last.text.startswith(
        "cleared: the host gave a vCPU no CPU: no CPU for 45.0 s in 60 stretches (host steal unknown"
    )
    assert state.alerts_told["host"].count == 1
    assert state.alerts == {}


def test_less_than_three_seconds_in_all_are_known_and_no_alert(rig: Rig) -> None:
    overload(rig, 3)
    rig.pass_time(2 * CALM_NS // MS)
    overload(rig, 3)
    assert len(rig.stood()) == 6
    assert [it for it in rig.events if isinstance(it, AlertRaised)] == []


def test_trouble_that_comes_after_a_long_calm_is_another_alert(rig: Rig) -> None:
    for _ in range(2):
        overload(rig, 5)
        rig.pass_time(2 * CALM_NS // MS)
    assert rig.events.count(CLEARED) == 2
    texts = [it.text for it in rig.events if isinstance(it, AlertRaised)]
    assert [text for text in texts if "(" not in text] == ["the host gave a vCPU no CPU"] * 2
    assert sum("3.8 s in 5 stretches" in text for text in texts) >= 2, "each counts its own"


def test_the_end_of_the_run_ends_the_alert(rig: Rig) -> None:
    overload(rig, 5)
    rig.host.finish()
    assert rig.events[-1] == CLEARED


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


def test_all_stretches_count_and_not_only_the_last(rig: Rig) -> None:
    for state in "TSTS":
        rig.pass_time(1000, state=state)
    assert rig.host.between_ns(0, rig.now_ns) == 2000 * MS
    assert rig.stood() == [(0, 1000, "QEMU was stopped"), (2000, 3000, "QEMU was stopped")]


def test_the_evidence_of_a_stretch_is_what_the_host_counted_in_it(rig: Rig) -> None:
    rig.busy(steal=100, others=1000, cpu_waited_us=0)
    rig.pass_time(1000)
    rig.busy(steal=400, others=1700, cpu_waited_us=500_000)
    rig.pass_time(2000, state="T")
    rig.busy(steal=900, others=9000, cpu_waited_us=9_000_000)
    rig.pass_time(250)
    (told,) = [event for event in rig.events if isinstance(event, HostStood)]
    assert told.pressure == HostPressure(steal=0.3, cpu=0.25)


def test_what_the_host_does_not_count_is_unknown_and_not_zero(rig: Rig) -> None:
    rig.pass_time(1000, state="T")
    part = rig.host.part_in(0, 1000 * MS)
    assert part == HostWait(without_cpu_ms=1000, wait_ms=1000, reason="QEMU was stopped")
    assert host_words(part) == (
        "the host gave the guest no CPU for 1.0 s of the 1.0 s wait: QEMU was stopped "
        "(host steal unknown, pressure cpu unknown, memory unknown, io unknown)"
    )


def test_when_only_this_program_stood_the_guest_has_no_excuse(rig: Rig) -> None:
    rig.pass_time(1000)
    rig.ran[12] += 1200 * MS
    rig.turns[12] += 40
    rig.pass_time(6000, every_ms=6000, waited_ms=4000)
    rig.pass_time(1000)
    assert rig.stood() == []
    assert rig.host.part_in(0, 7000 * MS) is None
    (told,) = rig.events
    assert isinstance(told, Logged)
    assert told.text == "the host did not run this program for 6.0 s; the guest ran meanwhile, unseen"


@pytest.mark.parametrize(("ran_ms", "turns"), [(1000, 40), (6000, 1)], ids=["both", "the whole host"])
def test_a_pause_of_both_is_one_also_where_it_counts_as_time_of_a_thread(
    rig: Rig, ran_ms: int, turns: int
) -> None:
    rig.pass_time(1000)
    rig.ran[12] += ran_ms * MS
    rig.turns[12] += turns
    rig.pass_time(6000, every_ms=6000)
    rig.pass_time(250)
    assert [end_ms - start_ms for start_ms, end_ms, _ in rig.stood()] == [6000]


def test_who_judges_a_wait_sees_what_the_last_look_could_not(rig: Rig) -> None:
    """This program was not run either, and the guest ejected its scheduler before the next look."""
    rig.now_ns += 4000 * MS
    part = rig.host.part_in(0, 4100 * MS)
    assert part is not None
    assert (part.without_cpu_ms, part.wait_ms, part.most) == (4000, 4100, True)
    assert part.reason == "the host did not run this program (paused or overloaded)"
    assert rig.host.part_in(4000 * MS, 4100 * MS) is None


def test_nothing_is_concluded_before_looking_began(tmp_path: Path) -> None:
    now_ns, events = [0], list[Event]()
    host = Standstill(HostProcess(1, [], tmp_path), events.append, lambda: now_ns[0], HostLoad(tmp_path))
    now_ns[0] = 60_000 * MS
    assert host.part_in(0, 60_000 * MS) is None
    host.begin()
    host.look()
    assert events == []


async def test_the_end_of_the_run_ends_the_stretch(rig: Rig, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.host.run)
        await wait_all_tasks_blocked()
        rig.pass_time(1000, state="T")
        rig.host.finish()
        await trio.sleep(LOOK_S * 2)
    assert rig.stood() == [(0, 1000, "QEMU was stopped")]
    await rig.host.run()


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
    assert either.blind == "QEMU is stopped"
    assert either.frozen_between_ns(0, 1000 * MS) == 7 + 1000 * MS
    rig.pass_time(250)
    freezer.frozen = True
    assert [either.frozen] == [True]
    assert either.blind == "", "a person froze it"
    either.poll()
    assert freezer.polls == 1
