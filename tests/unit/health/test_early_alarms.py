"""Alarms long before the watchdog: raised by what lasts, each with its cause; none of what moves."""

from __future__ import annotations

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.health.alarm_captures import CAPTURE_EVERY_NS, AlarmCaptures
from ktstr_tui.health.early_alarms import DSQ_KEY, EARLY_KEYS, IDLE_KEY, KTHREAD_KEY, WAIT_KEY
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, Logged
from ktstr_tui.model.report import CaptureReport, placeholder
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, Sample, SchedulerSample
from tests.unit.health.feed import PERIOD_NS

SETTLE_LOOKS = 25
"""Looks until a scheduler has had its two seconds, at 10 Hz."""


def cpus(*classes: str, switches: int) -> tuple[CpuSample, ...]:
    return tuple(
        CpuSample(
            nr_switches=switches,
            cpu=cpu,
            curr_pid=100 + cpu,
            curr_comm="hog",
            curr_class=name,
            idle=name == "idle",
            nr_running=1,
        )
        for cpu, name in enumerate(classes)
    )


def scheduler(
    *,
    oldest: RunnableTask | None = None,
    dsqs: tuple[DsqSample, ...] = (),
    kthread: RunnableTask | None = None,
    on: tuple[int, ...] = (1,),
    bypass: int = 0,
) -> SchedulerSample:
    return SchedulerSample(
        name="mine",
        state="enabled",
        enable_seq=1,
        exit_kind=0,
        watchdog_timeout_ms=3000.0,
        bypass_depth=bypass,
        oldest_runnable=oldest,
        dsqs=dsqs,
        starved_kthread=kthread,
        starved_cpus=on,
    )


def dsq(nr: int, seq: int | None, label: str = "0x7") -> DsqSample:
    return DsqSample(id=7, label=label, nr=nr, seq=seq)


def waiter(age_ms: float, idle_cpus: tuple[int, ...] = (), where: str | None = "0x7") -> RunnableTask:
    return RunnableTask(pid=201, comm="spin-0", age_ms=age_ms, cpu=0, dsq=where, idle_cpus=idle_cpus)


class Looks:
    """A monitor at 10 Hz that has seen a scheduler settle."""

    def __init__(self, limits: AlarmLimits | None = None) -> None:
        self.monitor = Monitor(250, None, limits)
        self.now_ns = self.switched = self.switches = 0
        self.said: list[Event] = []
        self(scheduler(), times=SETTLE_LOOKS)

    def __call__(self, one: SchedulerSample, *classes: str, times: int = 1) -> None:
        for _ in range(times):
            self.now_ns += PERIOD_NS
            self.switched += self.switches
            sample = Sample(cpus=cpus(*(classes or ("ext", "ext")), switches=self.switched), scheduler=one)
            self.said += self.monitor.observe(sample, self.now_ns)

    def text(self, key: str) -> str | None:
        """Of the alert as it was first raised."""
        raised = [it.text for it in self.said if isinstance(it, AlertRaised) and it.key == key]
        return raised[0] if raised else None


def test_a_queue_that_no_cpu_takes_from_is_an_alarm_however_much_comes() -> None:
    looks = Looks()
    for number in range(20):
        looks(scheduler(dsqs=(dsq(2 + number, 50 + number),), oldest=waiter(100.0 * number)), "idle", "ext")
    text = looks.text(DSQ_KEY)
    assert text is not None
    assert text.startswith("DSQ 0x7 holds ")
    assert "no CPU took one for 1.4 s (14 came meanwhile); cpu 0 idle; spin-0[201] runnable for" in text
    looks(scheduler(dsqs=(dsq(21, 70),)), times=10)
    assert any(isinstance(it, AlertCleared) and it.key == DSQ_KEY for it in looks.said)


def test_what_the_cpus_run_is_the_cause_when_none_idles() -> None:
    looks = Looks(AlarmLimits(dsq_ms=200))
    looks(scheduler(dsqs=(dsq(1, 5), dsq(3, 9, "0x8"))), "rt", "ext", times=10)
    text = looks.text(DSQ_KEY)
    assert text is not None
    assert "nor from 1 other; cpu 0 runs hog[100] (rt), cpu 1 runs hog[101] (ext)" in text


@pytest.mark.parametrize("why", ["taken", "empty", "bypass", "unknown", "off"])
def test_a_queue_is_no_alarm_when(why: str) -> None:
    looks = Looks(AlarmLimits(dsq_ms=0.0 if why == "off" else None))
    for number in range(40):
        seq = {"taken": 100 + number, "unknown": None}.get(why, 100)
        looks(scheduler(dsqs=(dsq(0 if why == "empty" else 5, seq),), bypass=why == "bypass"), "idle")
    assert looks.text(DSQ_KEY) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=30, max_size=60))
def test_a_queue_alarm_means_that_nothing_was_taken(moves: list[tuple[int, int]]) -> None:
    looks, nr, seq = Looks(AlarmLimits(dsq_ms=1000)), 1, 2**32 - 5
    taken_at = 0
    for number, (came, went) in enumerate(moves):
        gone = min(went, nr + came)
        nr, seq = nr + came - gone, seq + came
        if gone or not nr:
            taken_at = number
        before = len(looks.said)
        looks(scheduler(dsqs=(dsq(nr, seq % 2**32),)))
        if any(isinstance(it, AlertRaised) and it.key == DSQ_KEY for it in looks.said[before:]):
            assert number - taken_at >= 9


def test_a_task_beside_an_idle_cpu_is_an_alarm_after_the_time_that_is_given() -> None:
    calm, strict = Looks(), Looks(AlarmLimits(idle_ms=100))
    for looks in (calm, strict):
        looks(scheduler(oldest=waiter(400, idle_cpus=(1,))), "ext", "idle", times=10)
    assert calm.text(IDLE_KEY) is None
    assert strict.text(IDLE_KEY) == (
        "cpu 1 idle while spin-0[201] runnable for 0.400 s in DSQ 0x7, which it may run"
    )
    off = Looks(AlarmLimits(idle_ms=0))
    off(scheduler(oldest=waiter(2900, idle_cpus=(1,))), "ext", "idle", times=10)
    assert off.text(IDLE_KEY) is None


def test_a_wait_is_an_alarm_only_where_a_limit_is_given() -> None:
    calm, strict = Looks(), Looks(AlarmLimits(wait_ms=250))
    for looks in (calm, strict):
        looks(scheduler(oldest=waiter(300, where=None)), times=10)
    assert calm.text(WAIT_KEY) is None
    assert strict.text(WAIT_KEY) == "spin-0[201] runnable for 0.300 s in no DSQ: more than 250 ms"


THREAD = RunnableTask(pid=23, comm="kworker/1:0", age_ms=2200, cpu=1, dsq="local cpu 1")


def test_a_kernel_thread_below_an_rt_task_is_an_alarm_with_what_is_above_it() -> None:
    looks = Looks()
    looks(scheduler(kthread=THREAD), "ext", "rt", times=20)
    assert looks.text(KTHREAD_KEY) == (
        "kernel thread kworker/1:0[23] runnable for 2.200 s on cpu 1: hog[101] (rt) runs there"
    )


@pytest.mark.parametrize(
    "why", ["waits for a moment", "rt sleeps meanwhile", "may run elsewhere", "rt is new"]
)
def test_a_kernel_thread_is_no_alarm_when(why: str) -> None:
    looks = Looks()
    age_ms = 300.0 if why == "waits for a moment" else 2200.0
    one = scheduler(
        kthread=msgspec.structs.replace(THREAD, age_ms=age_ms),
        on=(0, 1) if why == "may run elsewhere" else (1,),
    )
    looks.switches = 2 if why == "rt sleeps meanwhile" else 0
    looks(one, "ext", "rt", times=8 if why == "rt is new" else 20)
    assert looks.text(KTHREAD_KEY) is None


def test_limits_of_the_command_line_come_before_those_of_the_scenario() -> None:
    scenario = AlarmLimits(idle_ms=500, dsq_ms=600)
    assert AlarmLimits(idle_ms=0).over(scenario) == AlarmLimits(idle_ms=0, dsq_ms=600)


def alarm(key: str, text: str = "why") -> AlertRaised:
    return AlertRaised(key=key, kind="wait", severity="warning", text=text)


async def test_each_alarm_makes_one_capture_but_not_too_many() -> None:
    now_ns, why, said = 0, list[str](), list[Event]()

    async def capture(text: str) -> CaptureReport:
        why.append(text)
        if text == "fails":
            raise HostError("the guest did not stop", "")
        return placeholder("alarm-001", "alarm", "made up")

    captures = AlarmCaptures(capture, said.append, lambda: now_ns)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(captures.run)
        for key in sorted(EARLY_KEYS):
            captures.observe(alarm(key, "first"))
        captures.observe(alarm(WAIT_KEY, "the same with another number"))
        captures.observe(alarm("runnable-age"))
        await trio.testing.wait_all_tasks_blocked()
        assert why == ["first"]
        assert captures.drops() == {"captures-skipped": 3, "captures-failed": 0}
        now_ns = CAPTURE_EVERY_NS
        captures.observe(AlertCleared(key=WAIT_KEY, kind="wait"))
        captures.observe(alarm(WAIT_KEY, "fails"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert why == ["first", "fails"]
    assert captures.drops()["captures-failed"] == 1
    assert [it.text for it in said if isinstance(it, Logged)] == [
        "no capture of the alarm: the guest did not stop"
    ]
