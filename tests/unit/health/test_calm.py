"""What a healthy scheduler does on a busy host raises no alert, and what only looks calm raises one."""

from __future__ import annotations

from ktstr_tui.health.thresholds import Thresholds
from ktstr_tui.model.events import AlertRaised, HealthChanged
from ktstr_tui.model.sample import CpuSample, RunnableTask, SchedulerSample
from tests.unit.health.feed import Feed, cpu, loaded, sample


def calm() -> Feed:
    """A monitor with the thresholds that runs have."""
    return Feed(thresholds=Thresholds())


def test_a_vcpu_that_got_little_of_a_busy_host_is_no_stall() -> None:
    feed = calm()
    for step in range(6):
        feed(sample(cpu(clock=5, thread_ms=step * 33)))
    assert feed.of(AlertRaised) == []
    feed(sample(cpu(clock=5, thread_ms=200)))
    assert [alert.key for alert in feed.of(AlertRaised)] == ["stall-cpu-0"]


def test_keep_last_means_nothing_while_nobody_waits() -> None:
    feed = calm()
    for index in range(20):
        counters = {"SCX_EV_DISPATCH_KEEP_LAST": index * 130}
        feed(sample(cpu(clock=index + 1), scheduler=loaded(20.0, counters=counters)))
    assert feed.keys() == []
    for index in range(20, 40):
        counters = {"SCX_EV_DISPATCH_KEEP_LAST": index * 130}
        feed(sample(cpu(clock=index + 1), scheduler=loaded(900.0, counters=counters)))
    assert feed.keys() == ["+keep-last-rate"]
    (alert,) = feed.of(AlertRaised)
    assert alert.text == (
        "SCX_EV_DISPATCH_KEEP_LAST 1300 /s (more than 100) while spin-0[201] runnable for 0.900 s"
    )


def uneven(step: int) -> tuple[CpuSample, CpuSample]:
    """Nine tasks on one CPU, two on the other."""
    return cpu(0, clock=step + 1, nr=9), cpu(1, clock=step + 1, nr=2)


def test_uneven_queues_right_after_a_scheduler_took_over_are_no_alert() -> None:
    feed = calm()
    feed.healthy()
    for step in range(15):
        feed(sample(*uneven(step), scheduler=loaded()))
    assert feed.keys() == []
    for step in range(15, 50):
        feed(sample(*uneven(step), scheduler=loaded()))
    assert feed.keys() == ["+imbalance"]


def waiting(dsq: str, idle: tuple[int, ...], age_ms: float = 1200.0) -> SchedulerSample:
    """A scheduler whose oldest task waits beside idle CPUs that it may use."""
    oldest = RunnableTask(pid=118, comm="spin-0", age_ms=age_ms, cpu=0, dsq=dsq, idle_cpus=idle)
    return SchedulerSample(name="x", enable_seq=1, watchdog_timeout_ms=3000.0, oldest_runnable=oldest)


def test_an_idle_cpu_beside_a_queue_that_it_may_serve_is_an_alert() -> None:
    feed = calm()
    for step in range(6):
        feed(sample(cpu(0, clock=step + 1), cpu(1, clock=step, idle=True), scheduler=waiting("0x7", (1,))))
    (alert,) = feed.of(AlertRaised)
    assert alert.text == "cpu 1 idle while spin-0[118] runnable for 1.200 s in DSQ 0x7, which it may run"
    assert feed.verdicts()[-1] == "degraded"


def test_a_local_queue_of_another_cpu_or_a_short_wait_is_none() -> None:
    for scheduler in (waiting("local cpu 0", (1,)), waiting("0x7", ()), waiting("0x7", (1,), 500.0)):
        feed = calm()
        for step in range(20):
            feed(sample(cpu(0, clock=step + 1), cpu(1, clock=step, idle=True), scheduler=scheduler))
        assert feed.keys() == []


def test_the_first_reason_is_what_ends_the_run_first() -> None:
    feed = Feed()
    for step in range(8):
        counters = {"SCX_EV_SELECT_CPU_FALLBACK": step * 100}
        feed(sample(cpu(clock=5, thread_ms=step), scheduler=loaded(20.0, counters=counters)))
    feed(sample(cpu(clock=5, thread_ms=500), scheduler=loaded(2900.0, counters={})))
    last = feed.of(HealthChanged)[-1]
    assert last.verdict == "stalled"
    assert "watchdog timeout" in last.reasons[0]
    assert "rq->clock" in last.reasons[1]
    assert "SELECT_CPU_FALLBACK" in last.reasons[2]


def test_a_machine_that_ends_is_not_called_inconclusive() -> None:
    feed = calm()
    for step in range(4):
        feed(sample(cpu(clock=step + 1, thread_ms=step * 10)))
    for step in range(4, 8):
        feed(sample(cpu(clock=step + 1, thread_ms=None)))
    assert feed.verdicts() == ["inconclusive", "ok"]
    feed(sample(cpu(clock=20, thread_ms=None)))
    assert feed.verdicts()[-1] == "inconclusive"


def test_what_flickers_is_a_few_alerts_and_not_one_a_second() -> None:
    """A rate that crosses its limit again and again: 0.7 s above, 0.7 s below, for two minutes."""
    feed = calm()
    count = 0
    for index in range(1200):
        count += 130 if index // 7 % 2 else 0
        counters = {"SCX_EV_SELECT_CPU_FALLBACK": count}
        feed(sample(cpu(clock=index + 1), scheduler=loaded(20.0, counters=counters)))
    assert feed.keys() == ["+fallback-rate", "-fallback-rate", "+fallback-rate"]
    for index in range(1200, 1500):
        counters = {"SCX_EV_SELECT_CPU_FALLBACK": count}
        feed(sample(cpu(clock=index + 1), scheduler=loaded(20.0, counters=counters)))
    assert feed.keys()[3:] == ["-fallback-rate"], "gone is gone"
