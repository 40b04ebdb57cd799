"""What the monitor says of the scheduler: ages, event rates."""

import msgspec
import pytest

from ktstr_tui.model.events import AlertRaised, Event
from ktstr_tui.model.sample import RunnableTask, SchedulerSample
from tests.unit.health.feed import MS, Feed, cpu, loaded, sample

# -- the scheduler ------------------------------------------------------------------------------------------


def aged(feed: Feed, age_ms: float | None, **more: object) -> list[Event]:
    return feed(sample(cpu(clock=feed.now_ns + 1), scheduler=loaded(age_ms, **more)))  # type: ignore[arg-type]


def test_the_age_of_the_oldest_runnable_task_in_the_kernels_words() -> None:
    feed = Feed()
    feed.healthy()
    aged(feed, 1499)
    assert feed.keys() == []
    aged(feed, 2400)
    (alert,) = feed.of(AlertRaised)
    assert (alert.key, alert.severity, alert.pid) == ("runnable-age", "warning", 201)
    assert alert.text == "spin-0[201] runnable for 2.400 s of 3.0 s watchdog timeout, in DSQ 0x7"
    assert feed.verdicts()[-1] == "degraded"
    aged(feed, 2700)
    assert feed.of(AlertRaised)[-1].severity == "error"
    assert feed.verdicts()[-1] == "stalled"


def test_past_the_timeout_it_depends_on_when_the_watchdog_looks() -> None:
    feed = Feed()
    feed.healthy()
    aged(feed, 3200)
    assert feed.of(AlertRaised)[0].text == (
        "spin-0[201] runnable for 3.200 s, past the 3.0 s watchdog timeout (the watchdog looks every 1.5 s), in DSQ 0x7"
    )


@pytest.mark.parametrize(
    ("dsq", "words"), [("local cpu 1", "in DSQ local cpu 1"), (None, "in no DSQ"), ("0x7", "in DSQ 0x7")]
)
def test_where_the_task_waits(dsq: str | None, words: str) -> None:
    feed = Feed()
    aged(feed, 2000, dsq=dsq)
    assert feed.of(AlertRaised)[0].text.endswith(words)


def test_a_task_that_the_bpf_scheduler_holds_is_named_so() -> None:
    feed = Feed()
    oldest = RunnableTask(pid=201, comm="spin-0", age_ms=2000, cpu=0, held=True, idle_cpus=(1,))
    feed(sample(cpu(), scheduler=msgspec.structs.replace(loaded(2000), oldest_runnable=oldest)))
    texts = [alert.text for alert in feed.of(AlertRaised)]
    assert texts
    assert all("held by the BPF scheduler, in no DSQ" in text for text in texts)


def test_the_age_has_hysteresis_in_both_steps() -> None:
    feed = Feed()
    feed.healthy()
    for age in (2700, 2650, 2700, 2500):
        aged(feed, age)
    assert [alert.severity for alert in feed.of(AlertRaised)] == ["error"]
    aged(feed, 2300)
    assert feed.of(AlertRaised)[-1].severity == "warning"
    for age in (1400, 1300) * 5:
        aged(feed, age)
    assert feed.keys()[-1] == "+runnable-age"
    for age in (1000, 100, 0, 10, 20):
        aged(feed, age)
    assert feed.keys()[-1] == "-runnable-age"


def test_the_text_of_a_standing_alert_moves_once_a_second() -> None:
    feed = Feed()
    for step in range(25):
        aged(feed, 1500 + 10 * step)
    assert len(feed.of(AlertRaised)) == 3
    aged(feed, 1760, pid=7)
    assert feed.of(AlertRaised)[-1].pid == 7


def test_the_age_alert_goes_with_its_scheduler() -> None:
    feed = Feed()
    aged(feed, 2900)
    feed(sample(cpu(clock=9)))
    assert feed.keys() == ["+runnable-age", "-runnable-age"]


def test_an_unreadable_scheduler_changes_nothing() -> None:
    feed = Feed()
    aged(feed, 2900)
    for step in range(9):
        feed(sample(cpu(clock=step + 100), scheduler=SchedulerSample(unreadable="torn")))
    assert feed.keys() == ["+runnable-age"]


@pytest.mark.parametrize(
    ("counter", "limit", "key"),
    [
        ("SCX_EV_SELECT_CPU_FALLBACK", 200, "fallback-rate"),
        ("SCX_EV_DISPATCH_KEEP_LAST", 100, "keep-last-rate"),
    ],
)
def test_event_rates_have_to_last(counter: str, limit: int, key: str) -> None:
    feed = Feed()
    step = limit // 10
    for index in range(8):
        aged(feed, 400, counters={counter: index * step})
    assert feed.keys() == []
    for index in range(6):
        aged(feed, 400, counters={counter: 10_000 + index * (step + 1)})
    assert feed.keys() == [f"+{key}"]
    assert f"{counter} {limit + 10} /s (more than {limit})" in feed.of(AlertRaised)[-1].text


def test_counters_that_fall_or_belong_to_another_scheduler_are_no_rate() -> None:
    feed = Feed()
    for index in range(10):
        aged(feed, None, counters={"SCX_EV_DISPATCH_KEEP_LAST": 10_000 - index * 1000})
    for index in range(10):
        aged(feed, None, counters={"SCX_EV_DISPATCH_KEEP_LAST": index * 1000}, seq=index)
    assert feed.keys() == []


def test_frozen_time_is_left_out_of_rates() -> None:
    feed = Feed()
    for index in range(8):
        counters = {"SCX_EV_SELECT_CPU_FALLBACK": index * 21}
        one = sample(cpu(clock=index + 1), scheduler=loaded(counters=counters))
        feed(one, frozen_ns=900 * MS, period_ns=1000 * MS)
    assert feed.keys() == ["+fallback-rate"]
