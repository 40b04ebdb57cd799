"""The snapshot bridge.

The first two groups keep the names that the bridge's first description gives its tests (after ``test_``).
"""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.capture.accessor import AccessorFailedError, AccessorState, AccessorTimeoutError, WorkerState
from ktstr_tui.capture.bridge import (
    MAX_STORED_EVENTS,
    MAX_STORED_SNAPSHOTS,
    SnapshotBridge,
    is_periodic_tag,
)
from ktstr_tui.capture.snapshots import (
    BridgeEvent,
    CaptureUnavailable,
    EventLogTruncated,
    Eviction,
    Overwrite,
)
from ktstr_tui.model.errors import GuestError, InternalError
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.report import CaptureReport, placeholder


def report(tag: str = "x", schema: str = "single") -> CaptureReport:
    return CaptureReport(tag=tag, trigger="on-demand", schema=schema)


async def no_capture(tag: str) -> CaptureReport | None:
    return None


def empty_bridge() -> SnapshotBridge:
    return SnapshotBridge(no_capture)


# -- waits for the accessor worker ----------------------------------------------------------------------


def bridge_with_accessor_state() -> tuple[SnapshotBridge, AccessorState]:
    accessor = AccessorState()
    return empty_bridge().with_accessor_state(accessor), accessor


async def test_wait_no_accessor_state_returns_ok_zero_immediately(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bridge = empty_bridge()
    assert await bridge.wait_for_accessor_publish_advance(0, trio.current_time() + 60, "Op::Test") == 0
    await bridge.wait_for_worker_state_not_trying(trio.current_time() + 60, "Op::Test")
    assert trio.current_time() == autojump_clock.current_time()


async def test_wait_seqno_already_advanced_returns_immediately() -> None:
    bridge, accessor = bridge_with_accessor_state()
    for _ in range(5):
        accessor.publish()
    with trio.fail_after(1):
        assert await bridge.wait_for_accessor_publish_advance(3, trio.current_time() + 60, "Op::Test") == 5


async def test_wait_observes_worker_publish(autojump_clock: trio.testing.MockClock) -> None:
    bridge, accessor = bridge_with_accessor_state()
    start = trio.current_time()

    async def publish() -> None:
        await trio.sleep(0.1)
        accessor.publish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert await bridge.wait_for_accessor_publish_advance(0, start + 2, "Op::Test") == 1
    assert trio.current_time() == pytest.approx(start + 0.1)


async def test_wait_bails_on_worker_failed_permanently(autojump_clock: trio.testing.MockClock) -> None:
    bridge, accessor = bridge_with_accessor_state()
    accessor.fail("no BTF")
    start = trio.current_time()
    with pytest.raises(AccessorFailedError, match=r"Op::Test.*FAILED_PERMANENTLY.*no BTF"):
        await bridge.wait_for_accessor_publish_advance(0, start + 60, "Op::Test")
    with pytest.raises(AccessorFailedError, match=r"Op::Test.*FAILED_PERMANENTLY"):
        await bridge.wait_for_worker_state_not_trying(start + 60, "Op::Test")
    assert trio.current_time() == start


async def test_wait_bails_on_worker_that_fails_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    bridge, accessor = bridge_with_accessor_state()

    async def fail() -> None:
        await trio.sleep(0.1)
        accessor.fail("gave up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        with pytest.raises(AccessorFailedError):
            await bridge.wait_for_accessor_publish_advance(0, trio.current_time() + 2, "Op::Test")


async def test_wait_bails_on_deadline_with_worker_state_in_diagnostic(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bridge, _ = bridge_with_accessor_state()
    with pytest.raises(AccessorTimeoutError) as caught:
        await bridge.wait_for_accessor_publish_advance(0, trio.current_time() + 0.12, "Op::Test")
    assert "worker state = 0" in caught.value.message
    assert "Trying" in caught.value.message
    with pytest.raises(AccessorTimeoutError, match="TRYING past the deadline"):
        await bridge.wait_for_worker_state_not_trying(trio.current_time() + 0.12, "Op::Test")


def test_accessor_publish_seqno_returns_zero_without_accessor_state() -> None:
    assert empty_bridge().accessor_publish_seqno() == 0


async def test_accessor_publish_seqno_reads_atomic() -> None:
    bridge, accessor = bridge_with_accessor_state()
    assert bridge.accessor_publish_seqno() == 0
    for _ in range(42):
        accessor.publish()
    assert bridge.accessor_publish_seqno() == 42
    assert accessor.state is WorkerState.SUCCEEDED


async def test_wait_not_trying_returns_at_the_first_publish(autojump_clock: trio.testing.MockClock) -> None:
    bridge, accessor = bridge_with_accessor_state()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.wait_for_worker_state_not_trying, trio.current_time() + 60, "Op::Test")
        await trio.testing.wait_all_tasks_blocked()
        accessor.publish()
    assert trio.current_time() < 60


async def test_accessor_does_not_publish_after_giving_up() -> None:
    _, accessor = bridge_with_accessor_state()
    accessor.fail("gone")
    with pytest.raises(InternalError):
        accessor.publish()


# -- periodic tags --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["periodic_000", "periodic_007", "periodic_123", "periodic_999"])
def test_is_periodic_tag_accepts_canonical_three_digit_index(tag: str) -> None:
    assert is_periodic_tag(tag)


@pytest.mark.parametrize(
    "tag",
    [
        "periodic_kaslr",
        "periodic_user_baseline",
        "periodic_",
        "periodic_1",
        "periodic_12",
        "periodic_1234",
        "periodic_00a",
        "periodic_007 ",
        "periodic_007\n",
        "periodic_\u0660\u0660\u0667",
        "PERIODIC_000",
        "capture_my_thing",
        "",
        "periodic",
    ],
)
def test_is_periodic_tag_rejects_user_tag_collisions(tag: str) -> None:
    assert not is_periodic_tag(tag)


def test_periodic_real_count_ignores_user_tag_with_periodic_prefix() -> None:
    bridge = empty_bridge()
    bridge.store("periodic_000", report())
    bridge.store("periodic_kaslr", report())
    bridge.store("periodic_001", placeholder("periodic_001", "periodic", "rendezvous timed out"))
    assert bridge.periodic_real_count() == 1


# -- capture and store ----------------------------------------------------------------------------------


async def test_capture_stores_what_the_callback_made() -> None:
    asked: list[str] = []

    async def capture(tag: str) -> CaptureReport | None:
        asked.append(tag)
        return report(tag)

    bridge = SnapshotBridge(capture)
    assert await bridge.capture("a") is True
    assert asked == ["a"]
    assert bridge.has("a")
    assert not bridge.has("b")
    assert len(bridge) == 1
    assert not bridge.is_empty()
    assert bridge.event_count() == 0


async def test_capture_without_report_is_an_event() -> None:
    heard: list[BridgeEvent] = []
    bridge = SnapshotBridge(no_capture, on_event=heard.append)
    assert await bridge.capture("a") is False
    assert await bridge.capture_with_step("b", 2) is False
    assert bridge.is_empty()
    assert bridge.drain_events() == [CaptureUnavailable("a"), CaptureUnavailable("b")] == heard
    assert bridge


async def test_capture_whose_callback_fails_is_an_event_and_the_error() -> None:
    async def capture(tag: str) -> CaptureReport | None:
        raise GuestError("the guest did not stop")

    bridge = SnapshotBridge(capture)
    with pytest.raises(GuestError, match="did not stop"):
        await bridge.capture_with_step("a", 1)
    assert bridge.is_empty()
    assert bridge.drain_events() == [CaptureUnavailable("a")]


async def test_capture_with_step_stamps_the_step() -> None:
    async def capture(tag: str) -> CaptureReport | None:
        return report(tag)

    bridge = SnapshotBridge(capture)
    await bridge.capture_with_step("a", 0)
    await bridge.capture("b")
    drained = bridge.drain_ordered_with_stats()
    assert [(entry.tag, entry.step_index) for entry in drained] == [("a", 0), ("b", None)]


def test_overwrite_moves_to_the_back_and_clears_stale_values() -> None:
    bridge = empty_bridge()
    bridge.store_with_stats_and_step("a", report("a1", "degraded"), {"n": 1}, 100, 1)
    bridge.store("b", report("b"))
    bridge.store("a", report("a2"))
    assert bridge.drain_events() == [Overwrite("a", "degraded")]
    first, second = bridge.drain_ordered_with_stats()
    assert (first.tag, second.tag) == ("b", "a")
    assert second.report.tag == "a2"
    assert second.stats == MissingStats("no scheduler binary")
    assert (second.elapsed_ms, second.step_index) == (None, None)


def test_overwrite_replaces_what_belongs_to_the_capture() -> None:
    bridge = empty_bridge()
    bridge.store_with_stats_and_step("a", report(), {"n": 1}, 100, 1)
    bridge.store_with_stats_and_step("a", report(), MissingStats("timeout"), 200, 2)
    (entry,) = bridge.drain_ordered_with_stats()
    assert (entry.stats, entry.elapsed_ms, entry.step_index) == (MissingStats("timeout"), 200, 2)


def test_eviction_is_first_in_first_out_and_takes_what_belongs_to_it_along() -> None:
    bridge = empty_bridge()
    for index in range(MAX_STORED_SNAPSHOTS):
        bridge.store_with_stats_and_step(f"t{index}", report(), {"i": index}, index, index)
    bridge.store("t0", report())
    bridge.store("new", report())
    assert len(bridge) == MAX_STORED_SNAPSHOTS
    assert not bridge.has("t1")
    assert bridge.has("t0")
    assert bridge.drain_events() == [Overwrite("t0", "single"), Eviction("t1", "new", MAX_STORED_SNAPSHOTS)]
    assert bridge.statistics().evicted == 1
    assert "t1" not in {entry.tag for entry in bridge.drain_ordered_with_stats()}


@given(st.lists(st.tuples(st.integers(0, 90), st.booleans()), max_size=200))
def test_captures_keep_what_belongs_to_them(writes: list[tuple[int, bool]]) -> None:
    bridge = empty_bridge()
    expected: dict[str, bool] = {}
    for number, full in writes:
        tag = f"t{number}"
        bridge.store_with_stats(tag, report(tag), {"n": number} if full else None, number if full else None)
        expected.pop(tag, None)
        expected[tag] = full
        if len(expected) > MAX_STORED_SNAPSHOTS:
            del expected[next(iter(expected))]
    drained = bridge.drain_ordered_with_stats()
    assert [entry.tag for entry in drained] == list(expected)
    assert [entry.elapsed_ms is not None for entry in drained] == list(expected.values())
    assert [not isinstance(entry.stats, MissingStats) for entry in drained] == list(expected.values())


# -- drains ---------------------------------------------------------------------------------------------


def test_drain_hands_out_reports_and_drops_the_rest() -> None:
    bridge = empty_bridge()
    bridge.store_with_stats("a", report("a"), {"n": 1}, 5)
    assert bridge.drain()["a"].tag == "a"
    assert bridge.drain() == {}
    bridge.store("a", report("a"))
    assert bridge.event_count() == 0
    (entry,) = bridge.drain_ordered_with_stats()
    assert entry.stats == MissingStats("no scheduler binary")


def test_drain_ordered_keeps_insertion_order_and_drops_the_rest() -> None:
    bridge = empty_bridge()
    for tag in ("periodic_002", "periodic_000", "periodic_001"):
        bridge.store_with_stats(tag, report(tag), {}, 1)
    assert [tag for tag, _ in bridge.drain_ordered()] == ["periodic_002", "periodic_000", "periodic_001"]
    assert bridge.drain_ordered() == []
    assert bridge.drain_ordered_with_stats() == []


async def test_event_log_is_bounded_and_the_drain_tells_the_loss_once() -> None:
    bridge = empty_bridge()
    for index in range(MAX_STORED_EVENTS + 3):
        await bridge.capture(f"t{index}")
    assert bridge.event_count() == MAX_STORED_EVENTS
    assert bridge.statistics().events_dropped == 3
    events = bridge.drain_events()
    assert events[0] == CaptureUnavailable("t3")
    assert events[-1] == EventLogTruncated(3)
    assert len(events) == MAX_STORED_EVENTS + 1
    assert bridge.drain_events() == []
    assert bridge.event_count() == 0


def test_events_and_reports_are_drained_apart() -> None:
    bridge = empty_bridge()
    bridge.store("a", report())
    bridge.store("a", report())
    bridge.drain_ordered()
    assert bridge.event_count() == 1
    bridge.store("b", report())
    bridge.drain_events()
    assert bridge.has("b")
