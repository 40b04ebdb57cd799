"""The difference of two captures: what is told, what is left out, and that nothing makes it fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.diff import MAX_VALUES, ReportDiff, TaskDiff, diff_reports
from ktstr_tui.model.report import (
    CaptureReport,
    DsqReport,
    MapEntry,
    MapReport,
    RunningTask,
    RunqueueReport,
    SchedulerReport,
    TaskReport,
    placeholder,
)
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_diff import diff_lines

SECOND_NS = 1_000_000_000


def task(pid: int, age_ms: float | None = 0.0, dsq: str | None = "0x7", **more: object) -> TaskReport:
    values: dict[str, Any] = {
        "tgid": pid, "comm": f"t{pid}", "state": "R", "sched_class": "ext", "policy": "NORMAL", "nice": 0,
        "cpu": 0, "cpus_allowed": "0-1", "nr_cpus_allowed": 2,
    }  # fmt: skip
    return TaskReport(pid=pid, age_ms=age_ms, dsq=dsq, **(values | more))


def report(tag: str, at_s: float = 1.0, **sections: object) -> CaptureReport:
    values: dict[str, Any] = sections
    return CaptureReport(tag=tag, trigger="on-demand", mono_ns=round(at_s * SECOND_NS), **values)


def two(early: dict[str, Any], late: dict[str, Any], between_s: float = 2.0) -> ReportDiff:
    return diff_reports(report("a", 1.0, **early), report("b", 1.0 + between_s, **late))


def by_pid(diff: ReportDiff) -> dict[int, TaskDiff]:
    return {it.pid: it for it in diff.tasks}


def test_tasks_that_stayed_grew_older_and_others_came_and_went() -> None:
    diff = two(
        {"tasks": (task(1, 1500.0), task(2, 900.0), task(3, 10.0))},
        {"tasks": (task(1, 3500.0), task(3, 5.0, cpu=1), task(4, 80.0, dsq="local cpu 1"))},
    )
    assert (diff.before, diff.after, diff.between_ms) == ("a", "b", 2000.0)
    assert [(it.pid, it.presence) for it in diff.tasks] == [(1, "both"), (3, "both"), (4, "new"), (2, "gone")]
    tasks = by_pid(diff)
    assert (tasks[1].growth_ms, tasks[1].starved) == (2000.0, True)
    assert (tasks[3].growth_ms, tasks[3].starved, tasks[3].cpu_after) == (-5.0, False, 1)
    assert (tasks[4].age_before_ms, tasks[4].age_after_ms, tasks[4].dsq_after) == (None, 80.0, "local cpu 1")
    assert (tasks[2].age_before_ms, tasks[2].age_after_ms) == (900.0, None)


@pytest.mark.parametrize(
    ("early", "late", "starved"),
    [
        (task(1, 100.0), task(1, 2096.0), True),  # a tick short
        (task(1, 100.0), task(1, 1200.0), False),  # had a turn 0.9 s after the first
        (task(1, 100.0, on_cpu=True), task(1, 2100.0), False),
        (task(1, 100.0), task(1, 2100.0, on_cpu=True), False),
        (task(1, None), task(1, 2100.0), False),
    ],
)
def test_starved_means_not_one_turn_in_between(early: TaskReport, late: TaskReport, starved: bool) -> None:
    assert by_pid(two({"tasks": (early,)}, {"tasks": (late,)}))[1].starved is starved


def test_ages_are_compared_on_the_guests_clock() -> None:
    """The guest stood for 8 of the 10 seconds between."""
    early = {"tasks": (task(1, 100.0),), "guest_ns": 5 * SECOND_NS}
    late = {"tasks": (task(1, 2100.0),), "guest_ns": 7 * SECOND_NS}
    assert by_pid(two(early, late, between_s=10.0))[1].starved


def test_two_in_the_other_order_have_a_time_between_them_and_nothing_that_was_counted_on() -> None:
    old, new = ({"dsqs": (DsqReport(id=7, label="0x7", origin="user", nr=2, seq=seq),)} for seq in (100, 160))
    assert two(old, new).queues[0].moved == 60
    diff = two(new, old, between_s=-2.0)
    assert (diff.between_ms, diff.queues[0].moved) == (-2000.0, None)
    told = [text_of(line) for line in diff_lines(diff, 100)]
    assert told[0] == "a → b  2.0 s apart, the first was taken later"
    assert not [line for line in told if "inserted" in line]


def test_queues_that_are_stuck_moved_or_empty() -> None:
    def queue(number: int, nr: int, seq: int | None, pids: tuple[int, ...]) -> DsqReport:
        return DsqReport(id=number, label=f"{number:#x}", origin="user", nr=nr, seq=seq, pids=pids)

    diff = two(
        {
            "dsqs": (
                queue(7, 3, 10, (1, 2, 3)),
                queue(8, 0, 5, ()),
                queue(9, 0, 2**32 - 1, ()),
                queue(10, 1, 0, (9,)),
                queue(12, 1, 60_000, (5,)),
            )
        },
        {
            "dsqs": (
                queue(7, 3, 14, (2, 3, 4)),
                queue(8, 0, 5, ()),
                queue(9, 0, 4, ()),
                queue(11, 0, None, ()),
                queue(12, 2, 39_000, (5, 6)),
            )
        },
    )
    queues = {it.id: it for it in diff.queues}
    assert sorted(queues) == [7, 9, 10, 11, 12], "the one that was empty and did not move is left out"
    assert (queues[7].nr_before, queues[7].nr_after, queues[7].moved) == (3, 3, 4)
    assert (queues[7].left, queues[7].joined) == (1, 1)
    assert queues[9].moved == 5, "seq is a u32 and wraps"
    assert [queues[number].presence for number in (7, 10, 11)] == ["both", "gone", "new"]
    assert queues[11].moved is None
    assert queues[12].moved is None, "a count that went back is of another run"


def test_cpus() -> None:
    def rq(cpu: int, **more: object) -> RunqueueReport:
        values: dict[str, Any] = more
        return RunqueueReport(cpu=cpu, **values)

    running = RunningTask(cpu=0, pid=42, comm="spin", sched_class="ext")
    diff = two(
        {"runqueues": (rq(0, nr_running=2, rq_clock_ns=100), rq(1, unavailable="torn"), rq(2))},
        {"runqueues": (rq(0, nr_running=5, rq_clock_ns=100, curr=running), rq(1), rq(2))},
    )
    assert [it.cpu for it in diff.cpus] == [0, 2], "one that could not be read is not compared"
    first = diff.cpus[0]
    assert (first.nr_running_before, first.nr_running_after, first.clock_ns) == (2, 5, 0)
    assert (first.curr_before, first.curr_after) == (None, "spin[42]")
    assert diff.cpus[1].clock_ns is None


def test_scheduler_counters_and_statistics() -> None:
    counters = {"SCX_EV_ENQ_SKIP_EXITING": 4, "SCX_EV_DISPATCH_KEEP_LAST": 7}
    diff = two(
        {
            "scheduler": SchedulerReport(name="s", exit_kind=0, event_counters=counters),
            "scheduler_stats": {"nr": 1, "layers": [{"util": 0.5}, {"util": 0.25}], "old": True},
        },
        {
            "scheduler": SchedulerReport(
                name="s", exit_kind=1026, event_counters=counters | {"SCX_EV_DISPATCH_KEEP_LAST": 9}
            ),
            "scheduler_stats": {"nr": 4, "layers": [{"util": 0.5}, {"util": 0.75}], "new": "x"},
        },
    )
    assert [(it.name, it.before, it.after, it.delta) for it in diff.scheduler] == [
        ("exit_kind", 0, 1026, 1026)
    ]
    assert [(it.name, it.delta) for it in diff.counters] == [("SCX_EV_DISPATCH_KEEP_LAST", 2)]
    stats = {it.name: (it.before, it.after, it.delta) for it in diff.stats}
    assert stats == {
        "nr": (1, 4, 3),
        "layers[1].util": (0.25, 0.75, 0.5),
        "new": (None, "x", None),
        "old": (True, None, None),
    }


def maps(
    *entries: tuple[object, object], name: str = "m", limit: int = 64, error: str | None = None
) -> MapReport:
    found = tuple(MapEntry(key, value) for key, value in entries)
    return MapReport(id=1, name=name, map_type="hash", max_entries=limit, entries=found, error=error)


def test_changed_globals_and_map_values() -> None:
    bss = {"stopped": False, "nr": 3, "queue": {"head": 1, "tail": 2}}
    diff = two(
        {"maps": (maps((0, bss), name="bss", limit=1), maps((5, [1, 2]), ({"pid": 9}, 1)))},
        {
            "maps": (
                maps((0, bss | {"stopped": True, "queue": {"head": 1, "tail": 5}}), name="bss", limit=1),
                maps((5, [1, 4]), (6, 0)),
            )
        },
    )
    values = {it.name: {v.name: (v.before, v.after, v.delta) for v in it.values} for it in diff.maps}
    assert values == {
        "bss": {"stopped": (False, True, None), "queue.tail": (2, 5, 3)},
        "m": {"[5][1]": (2, 4, 2), "[6]": (None, 0, None), '[{"pid":9}]': (1, None, None)},
    }


def test_maps_that_came_went_or_cannot_be_compared() -> None:
    diff = two({"maps": (maps(name="old"), maps((1, 2), name="x"))}, {"maps": (maps(name="x", error="no"),)})
    assert [(it.name, it.presence) for it in diff.maps] == [("old", "gone")]


def test_a_map_with_many_changes_is_cut() -> None:
    many = range(MAX_VALUES + 5)
    diff = two({"maps": (maps(*((k, 0) for k in many)),)}, {"maps": (maps(*((k, 1) for k in many)),)})
    (changed,) = diff.maps
    assert len(changed.values) == MAX_VALUES
    assert changed.truncated


def test_what_could_not_be_read_is_not_called_gone() -> None:
    diff = two(
        {"tasks": (task(1),), "dsqs": (), "maps": (maps(),)},
        {"unavailable": {"tasks": "torn", "maps": "no idr"}, "truncated": {"dsqs": "the first 9"}},
    )
    assert diff.tasks == ()
    assert diff.maps == ()
    assert diff.notes == {
        "tasks": "not compared: unavailable in b: torn",
        "maps": "not compared: unavailable in b: no idr",
        "dsqs": "incomplete in b: the first 9",
    }


def test_a_placeholder_compares_nothing() -> None:
    whole = report("b", tasks=(task(1),), scheduler=SchedulerReport(name="s"))
    diff = diff_reports(placeholder("a", "early", "the guest hung"), whole)
    assert diff.tasks == ()
    assert set(diff.notes) == {"scheduler", "runqueues", "tasks", "dsqs", "maps"}
    assert diff.notes["runqueues"] == "not compared: unavailable in a: the guest hung"


def test_two_schedulers_are_named() -> None:
    diff = two({"scheduler": SchedulerReport(name="fifo")}, {"scheduler": SchedulerReport(name="stall")})
    assert diff.notes == {"schedulers": "two different schedulers: fifo and stall"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_values_can_be_compared_and_equal_ones_do_not_differ(one: object, other: object) -> None:
    early = {"maps": (maps((0, one), limit=1),), "scheduler_stats": one}
    diff = two(early, {"maps": (maps((0, other), limit=1),), "scheduler_stats": other})
    encoded = msgspec.json.encode(diff)
    assert msgspec.json.decode(encoded, type=ReportDiff).notes == {}
    if one == other and msgspec.json.encode(one) == msgspec.json.encode(other):
        assert diff.maps == ()
        assert diff.stats == ()
    elif one != other:
        assert diff.maps, "a difference is told"


def test_values_nested_without_end_are_compared_as_a_whole() -> None:
    def nested(leaf: int) -> object:
        value: object = leaf
        for _ in range(200):
            value = {"in": value}
        return value

    diff = two({"maps": (maps((0, nested(1))),)}, {"maps": (maps((0, nested(2))),)})
    assert len(diff.maps[0].values) == 1
