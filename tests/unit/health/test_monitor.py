from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.health.alerts import SOON_NS, Alerts
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.thresholds import Thresholds
from ktstr_tui.model.events import AlertRaised, HealthChanged
from ktstr_tui.model.sample import CpuSample, Sample
from tests.unit.health.feed import MS, PERIOD_NS, Feed, cpu, loaded, sample

# -- the stall rule ---------------------------------------------------------------------------------------


def test_a_standing_clock_under_a_running_vcpu_is_a_stall() -> None:
    feed = Feed()
    feed(sample(cpu(1, clock=5, thread_ms=0)))
    feed(sample(cpu(1, clock=5, thread_ms=40)))
    (alert,) = feed.of(AlertRaised)
    assert alert == AlertRaised(
        key="stall-cpu-1",
        kind="stall",
        severity="error",
        text="cpu 1: rq->clock has not advanced for 0.1 s while its vCPU ran 0.0 s, curr spin-0[201]",
        cpu=1,
        pid=201,
    )
    assert feed.verdicts() == ["inconclusive", "stalled"]
    assert feed.monitor.statistics().stalls == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(cpu(clock=5), cpu(clock=6, thread_ms=100), id="the clock moved"),
        pytest.param(cpu(clock=5), cpu(clock=5, thread_ms=39.9), id="the vCPU thread was preempted"),
        pytest.param(cpu(clock=5, nr=0), cpu(clock=5, nr=0, thread_ms=100), id="nothing to run"),
        pytest.param(cpu(clock=5, idle=True), cpu(clock=5, idle=True, thread_ms=100), id="idle"),
        pytest.param(cpu(clock=0), cpu(clock=0, thread_ms=100), id="no clock yet"),
        pytest.param(cpu(clock=None), cpu(clock=None, thread_ms=100), id="no clock read"),
        pytest.param(cpu(clock=5), cpu(clock=5, thread_ms=None), id="host CPU time unknown after"),
        pytest.param(cpu(clock=5, thread_ms=None), cpu(clock=5, thread_ms=100), id="and before"),
        pytest.param(cpu(clock=5), cpu(clock=5, thread_ms=100, unreadable="torn"), id="torn"),
        pytest.param(cpu(clock=5, nr=None), cpu(clock=5, nr=None, thread_ms=100), id="count unknown"),
    ],
)
def test_what_is_no_stall(before: CpuSample, after: CpuSample) -> None:
    feed = Feed()
    feed(sample(before, cpu(1, clock=1)))
    feed(sample(after, cpu(1, clock=2)))
    assert feed.of(AlertRaised) == []


@pytest.mark.parametrize(("hz", "enough_ms"), [(100, 100), (250, 40), (1000, 10)])
def test_ten_ticks_depend_on_hz(hz: int, enough_ms: int) -> None:
    feed = Feed(hz)
    feed(sample(cpu(clock=5)))
    feed(sample(cpu(clock=5, thread_ms=enough_ms - 0.1)))
    assert feed.of(AlertRaised) == []
    feed(sample(cpu(clock=5, thread_ms=enough_ms)))
    assert len(feed.of(AlertRaised)) == 1


def test_the_proof_may_span_several_samples() -> None:
    feed = Feed()
    for step in range(9):
        feed(sample(cpu(clock=5, thread_ms=step * 5)), period_ns=5 * MS)
        assert bool(feed.of(AlertRaised)) == (step == 8)


def test_a_stall_is_cleared_after_some_good_samples_and_does_not_flap() -> None:
    feed = Feed()
    feed(sample(cpu(clock=5)))
    feed(sample(cpu(clock=5, thread_ms=100)))
    for step in range(4):
        feed(sample(cpu(clock=6 + step, thread_ms=200 + step)))
    feed(sample(cpu(clock=9, thread_ms=300)))
    assert feed.keys() == ["+stall-cpu-0"]
    for step in range(5):
        feed(sample(cpu(clock=20 + step, thread_ms=400)))
    assert feed.keys() == ["+stall-cpu-0", "-stall-cpu-0"]
    assert feed.verdicts()[-1] == "ok"
    assert feed.monitor.statistics().stalls == 2


def test_frozen_time_is_left_out_of_what_a_stall_says() -> None:
    feed = Feed()
    feed(sample(cpu(clock=5)))
    feed(sample(cpu(clock=5, thread_ms=100)), frozen_ns=8_000 * MS, period_ns=10_000 * MS)
    assert "has not advanced for 2.0 s" in feed.of(AlertRaised)[0].text


def shared_sample(clocks: tuple[int, int], thread_ms: int) -> Sample:
    cpus = tuple(CpuSample(cpu=n, nr_running=1, rq_clock_ns=clock) for n, clock in enumerate(clocks))
    return msgspec.structs.replace(sample(*cpus), shared_cpu_time_ns=thread_ms * MS)


def test_vcpus_that_take_turns_on_one_thread_are_healthy() -> None:
    """Each vCPU has no turn while another has one of 100 ms, and the thread that carries them all is always busy."""
    feed = Feed()
    for turn in range(1, 40):
        feed(shared_sample(((turn + 1) // 2, turn // 2 + 1), thread_ms=turn * 100))
    assert feed.of(AlertRaised) == []
    assert feed.verdicts()[-1] == "ok"


def test_a_vcpu_that_used_its_turns_and_has_not_moved_is_a_stall() -> None:
    feed = Feed()
    for turn in range(6):
        feed(shared_sample((5, turn + 1), thread_ms=turn * 100))
    assert feed.keys() == ["+stall-cpu-0"]
    assert "while its vCPU ran 0.1 s" in feed.of(AlertRaised)[0].text


def test_without_any_time_of_a_vcpu_there_is_no_verdict() -> None:
    feed = Feed()
    for turn in range(4):
        feed(sample(*(CpuSample(cpu=n, nr_running=1, rq_clock_ns=turn + 1) for n in range(2))))
    assert feed.of(HealthChanged)[-1] == HealthChanged(
        verdict="inconclusive",
        reasons=("no vCPU's host CPU time is known, so stalls cannot be detected",),
    )


def test_what_waits_while_a_scheduler_is_taken_away_is_not_laid_to_it() -> None:
    feed = Feed()
    feed(sample(cpu(), scheduler=loaded(2900.0)))
    for state, kind in (("enabled", 1026), ("disabling", 1)):
        scheduler = msgspec.structs.replace(loaded(3600.0, dsq="bypass cpu 0"), state=state, exit_kind=kind)
        for _ in range(15):
            feed(sample(cpu(), scheduler=scheduler))
    feed(sample(cpu()))
    assert feed.keys() == ["+runnable-age", "-runnable-age"]
    assert "in DSQ 0x7" in feed.of(AlertRaised)[-1].text


# -- queues -----------------------------------------------------------------------------------------------


def test_imbalance_has_to_last() -> None:
    feed = Feed()
    for step in range(4):
        feed(sample(cpu(0, clock=step + 1, nr=9), cpu(1, clock=step + 1, nr=2)))
    feed(sample(cpu(0, clock=10, nr=8), cpu(1, clock=10, nr=2)))
    assert feed.keys() == []
    for step in range(5):
        feed(sample(cpu(0, clock=20 + step, nr=9), cpu(1, clock=20 + step, nr=2)))
    assert feed.keys() == ["+imbalance"]
    assert feed.of(AlertRaised)[0].text == "imbalance 4.5: nr_running 9 on cpu 0, 2 on cpu 1"
    assert feed.verdicts()[-1] == "degraded"


def test_an_empty_cpu_counts_as_one_in_the_imbalance() -> None:
    feed = Feed()
    for step in range(5):
        feed(sample(cpu(0, clock=step + 1, nr=4), cpu(1, clock=step + 1, nr=0)))
    assert feed.keys() == []
    for step in range(5):
        feed(sample(cpu(0, clock=step + 9, nr=5), cpu(1, clock=step + 9, nr=0)))
    assert feed.keys() == ["+imbalance"]


def test_a_deep_local_dsq_has_to_last() -> None:
    feed = Feed()
    for step in range(5):
        feed(sample(cpu(clock=step + 1, local=51)))
    assert feed.keys() == ["+local-dsq-cpu-0"]
    for step in range(5):
        feed(sample(cpu(clock=step + 10, local=50)))
    assert feed.keys() == ["+local-dsq-cpu-0", "-local-dsq-cpu-0"]


def test_an_implausible_depth_discards_the_sample() -> None:
    feed = Feed()
    feed.healthy()
    for _ in range(4):
        feed(sample(cpu(clock=3, local=10_001)))
    assert feed.verdicts()[-1] == "ok"
    feed(sample(cpu(clock=3, local=10_001)))
    assert feed.verdicts()[-1] == "inconclusive"
    assert feed.monitor.statistics().discarded == {"a local DSQ is implausibly deep": 5}
    assert feed.monitor.statistics().judged == 3
    feed.healthy(1)
    assert feed.verdicts()[-1] == "ok"


# -- the verdict --------------------------------------------------------------------------------------------


def test_the_verdict_is_said_on_change_only() -> None:
    feed = Feed()
    feed.healthy(20)
    assert feed.verdicts() == ["inconclusive", "ok"]
    assert feed.of(HealthChanged)[0].reasons == ("too few samples yet",)


def test_without_data_there_is_no_verdict() -> None:
    feed = Feed()
    for _ in range(9):
        feed(sample(cpu(unreadable="fault"), cpu(1, unreadable="fault")))
    assert feed.verdicts() == ["inconclusive"]
    assert feed.of(HealthChanged)[0].reasons == ("no CPU could be read",)


def test_without_host_cpu_times_stalls_cannot_be_judged() -> None:
    feed = Feed()
    for step in range(5):
        feed(sample(cpu(clock=step + 1, thread_ms=None)))
    last = feed.of(HealthChanged)[-1]
    assert last.verdict == "inconclusive"
    assert "stalls cannot be detected" in last.reasons[0]


def test_thresholds_can_be_set() -> None:
    monitor = Monitor(thresholds=Thresholds(imbalance=1.5, sustained=1, settle_ms=0))
    events = monitor.observe(sample(cpu(0, nr=2), cpu(1, nr=1)), 1)
    assert [event.key for event in events if isinstance(event, AlertRaised)] == ["imbalance"]


@given(st.lists(st.booleans(), max_size=80), st.integers(1, 6), st.integers(1, 6))
def test_alerts_follow_their_streaks(looks: list[bool], raise_after: int, clear_after: int) -> None:
    alerts = Alerts(clear_after)
    standing, streak = False, 0
    for bad in looks:
        alerts.now_ns += SOON_NS  # so that none counts as one that flickers
        alert = AlertRaised(key="k", kind="stall", severity="warning", text="t") if bad else None
        events = list(alerts.update("k", alert, raise_after=raise_after))
        streak = streak + 1 if bad != standing else 0
        if streak >= (raise_after if bad else clear_after):
            standing, streak = bad, 0
            assert len(events) == 1
        else:
            assert events == []
        assert ("k" in alerts.standing) == standing


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 20_000), st.integers(-100, 500), st.booleans()),
        max_size=40,
    )
)
def test_a_monitor_takes_anything(rows: list[tuple[int, int, int, bool]]) -> None:
    monitor = Monitor()
    now_ns = 0
    for clock, depth, thread_ms, readable in rows:
        now_ns += PERIOD_NS
        one = cpu(clock=clock, local=depth, thread_ms=thread_ms, unreadable=None if readable else "torn")
        monitor.observe(sample(one, scheduler=loaded(float(depth), counters={"SCX_EV_X": depth})), now_ns)
    statistics = monitor.statistics()
    assert statistics.judged + sum(statistics.discarded.values()) == len(rows)
    assert monitor.verdict in ("ok", "degraded", "stalled", "inconclusive")
