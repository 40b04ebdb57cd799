"""The loop's contract: the tests of the original it is modelled on, under their names, and what is our own.

Its replicas and daemons are captures, watches and schedulers here; its peers are what probes see.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.control.executor import ActionQueue
from ktstr_tui.control.loop import AFTER_TICK, ControlLoop
from ktstr_tui.control.queue import EventQueue, LoopClosedError, QueueFullError, Shutdown
from ktstr_tui.control.ticker import ClockTicker
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from tests.unit.control.rig import Rig, now_ns

CAPTURE = ct.TakeCapture(trigger="on-demand")
SAMPLED = ev.Logged(severity="info", source="test", text="a line")


async def test_loop_exits_cleanly_when_all_handles_drop(autojump_clock: MockClock) -> None:
    rig, counts = Rig(), []
    second = rig.handle.clone()
    async with rig.running():
        await trio.sleep(1)
        rig.handle.close()
        await trio.sleep(1.05)
        counts.append(rig.reconciles)
        second.close()
        await trio.sleep(0.01)
        counts.append(rig.reconciles)
    assert counts == [None, 20]
    assert rig.dispatcher.seen == []


async def test_what_waits_is_folded_before_the_loop_ends_with_its_last_handle(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(period_s=60)
    for _ in range(100):
        rig.stream.emit(SAMPLED)
    rig.handle.close()
    with trio.fail_after(1):
        await rig.run()
    assert rig.loop.statistics().folded == 100  # and not the word of the beginning: the handle was closed


async def test_loop_exits_on_shutdown_event(autojump_clock: MockClock) -> None:
    rig = Rig()
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            await rig.handle.publish(Shutdown())


async def test_publish_timeout_returns_queue_full_when_loop_is_wedged(autojump_clock: MockClock) -> None:
    rig = Rig(queue=EventQueue(1, 0))
    await rig.handle.publish(SAMPLED)
    before = trio.current_time()
    with pytest.raises(QueueFullError):
        await rig.handle.publish_timeout(SAMPLED, 0.05)
    assert trio.current_time() - before == pytest.approx(0.05)


async def test_publish_timeout_gets_in_when_there_is_room_in_time(autojump_clock: MockClock) -> None:
    rig = Rig(queue=EventQueue(1, 0))
    await rig.handle.publish(SAMPLED)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.handle.publish_timeout, SAMPLED, 10)
        await trio.sleep(1)
        nursery.start_soon(rig.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert rig.loop.statistics().folded >= 2


async def test_snapshot_reader_does_not_stall_under_concurrent_reads(autojump_clock: MockClock) -> None:
    rig, reads = Rig(period_s=0.005), 0

    async def read() -> None:
        nonlocal reads
        reader = rig.reader.clone()
        while True:
            assert reader.read() is rig.reader.read()
            reads += 1
            await trio.sleep(0.001)

    async with rig.running(), trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(read)
        await trio.sleep(0.0625)
        nursery.cancel_scope.cancel()
    assert rig.reader.read().tick == 12
    assert reads >= 8 * 60


async def test_dropped_actions_counter_increments_when_action_queue_is_full(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(actions=ActionQueue(1))
    async with rig.running(executor=False):
        for seq in range(1, 6):
            rig.ask(seq, CAPTURE)
        await trio.sleep(0.15)
    counts = rig.reader.read().counts
    assert (counts.emitted, counts.dropped, counts.in_flight) == (5, 4, 1)
    assert rig.executor.drops()["action-dropped: capture"] == 4
    assert [it.reason for it in rig.rings.failures.newest()] == ["too many actions wait already"] * 4


async def test_ticks_drive_reconcile_passes(autojump_clock: MockClock) -> None:
    rig = Rig(period_s=0.02)
    async with rig.running():
        await trio.sleep(0.13)
        rig.shut_down()
        await trio.sleep(0.001)
        assert rig.reconciles == 6


async def test_missed_ticks_are_delayed_and_never_burst(autojump_clock: MockClock) -> None:
    ticker = ClockTicker(Rig().time, 0.1)
    at = []
    for work_s in (0, 1.0, 0, 0):
        await ticker.wait()
        at.append(trio.current_time())
        await trio.sleep(work_s)
    first = at[0]
    assert [it - first for it in at] == pytest.approx([0, 0.1, 1.1, 1.2])


async def test_loop_drains_event_burst_without_panicking(autojump_clock: MockClock) -> None:
    rig = Rig()

    async def burst() -> None:
        for text in ("a", "b", "c"):
            await rig.handle.publish(ev.Frozen(reason=text))
            await rig.handle.publish(ev.Thawed(reason=text, pause=None))  # type: ignore[arg-type]
        await rig.handle.publish(Shutdown())

    with trio.fail_after(0.2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(burst)
            nursery.start_soon(rig.run)


class AlwaysDue(ClockTicker):
    """A ticker that is due again as soon as a tick is over."""

    async def wait(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_neither_ticks_nor_events_starve(autojump_clock: MockClock) -> None:
    rig = Rig(queue=EventQueue(64, 64))
    rig.loop._ticker = AlwaysDue(rig.time)

    async def pump() -> None:
        while True:
            await rig.handle.publish(SAMPLED)

    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        for _ in range(1000):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    counts = rig.loop.statistics()
    assert counts.ticks > 100
    assert counts.folded > 2 * counts.ticks


async def test_after_a_tick_at_most_32_waiting_events_are_taken(autojump_clock: MockClock) -> None:
    rig = Rig(period_s=0.1)
    taken: list[int] = []

    class Look:
        name, every_s = "look", 0.0

        async def read(self) -> dict[str, float | None]:
            taken.append(rig.loop.statistics().folded)
            for _ in range(100):
                rig.stream.emit(SAMPLED)
            # Hold the tick until the next one is due at once.
            rig.loop._due = True
            return {}

    assert AFTER_TICK == 32
    queue: list[int] = []
    rig.loop.probes.install(Look())
    original = rig.loop._take

    def take(most: int) -> bool:
        before = len(rig.loop._queue)
        ended = original(most)
        queue.append(before - len(rig.loop._queue))
        return ended

    rig.loop._take = take  # type: ignore[method-assign]
    async with rig.running():
        await trio.sleep(0.35)
    assert max(queue) == AFTER_TICK
    assert len(taken) >= 3


async def test_loop_construction_returns_handle_and_actions_receiver(autojump_clock: MockClock) -> None:
    rig = Rig()
    assert isinstance(rig.loop, ControlLoop)
    clone = rig.handle.clone()
    clone.close()
    with pytest.raises(LoopClosedError):
        clone.publish_nowait(SAMPLED)
    rig.handle.publish_nowait(SAMPLED)
    assert rig.reader.read().run_epoch_id == rig.loop.run_epoch_id
    assert Rig().loop.run_epoch_id != rig.loop.run_epoch_id
    assert rig.executor.statistics().depth == 0


async def test_try_publish_surfaces_queue_full_under_saturation(autojump_clock: MockClock) -> None:
    rig = Rig(queue=EventQueue(1, 0))
    rig.handle.publish_nowait(SAMPLED)
    with pytest.raises(QueueFullError):
        rig.handle.publish_nowait(SAMPLED)


async def test_a_flood_of_samples_leaves_room_for_what_an_action_waits_for(autojump_clock: MockClock) -> None:
    rig = Rig(queue=EventQueue(2, 1))
    rig.handle.publish_nowait(SAMPLED)
    rig.handle.publish_nowait(SAMPLED)
    with pytest.raises(QueueFullError):
        rig.handle.publish_nowait(SAMPLED)
    rig.handle.publish_nowait(ev.Frozen(reason="ada"))
    with pytest.raises(QueueFullError):
        rig.handle.publish_nowait(ev.Frozen(reason="ada"))


async def test_a_closed_loop_takes_nothing(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.shut_down()
    await rig.run()
    with pytest.raises(LoopClosedError):
        rig.handle.publish_nowait(SAMPLED)
    with pytest.raises(LoopClosedError):
        await rig.handle.publish(SAMPLED)


async def test_shutdown_event_short_circuits_pending_events_after_it(autojump_clock: MockClock) -> None:
    rig = Rig(period_s=60)
    await rig.handle.publish(Shutdown())
    rig.stream.emit(ev.ActionAsked(command_seq=-1, by="guest", wanted=CAPTURE))
    with trio.fail_after(1):
        assert await rig.loop.run() == 0
    assert rig.loop.statistics().folded == 0
    assert rig.reader.read().folded_seq == 0
    assert rig.dispatcher.seen == []


async def test_reconcile_emitted_at_anchored_on_last_tick_for_replay_determinism(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(period_s=0.08)
    rig.ask(1, CAPTURE)
    async with rig.running():
        await trio.sleep(0.1)
        rig.shut_down()
        await trio.sleep(0.01)
        snapshot = rig.reader.read()
        assert [snapshot.now_ns - it.emitted_at_ns for it in snapshot.recent] == [0]
        assert [it.now_ns for it in rig.of(ev.Ticked)] == [snapshot.now_ns]


async def test_snapshot_reader_returns_updated_state_after_each_tick(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with rig.running():
        rig.stream.emit(ev.HoldChanged(held=True, by="ada", until_ns=10**12))
        await trio.sleep(0.15)
        hold = rig.reader.read().hold
        assert hold is not None
        assert hold.by == "ada"
        rig.stream.emit(ev.HoldChanged(held=False, by="ada"))
        await trio.sleep(0.1)
        assert rig.reader.read().hold is None


async def test_snapshot_reader_is_cloneable_and_sees_same_state(autojump_clock: MockClock) -> None:
    rig = Rig()
    other = rig.reader.clone()
    async with rig.running():
        rig.ask(1, CAPTURE)
        await trio.sleep(0.25)
        assert other.read() is rig.reader.read()
        assert other.read().tick == 2


async def test_the_change_signal_is_silent_while_only_time_passes(autojump_clock: MockClock) -> None:
    rig, versions = Rig(), []

    async def watch() -> None:
        version = rig.reader.version
        while True:
            version = await rig.reader.wait_changed(version)
            versions.append((version, now_ns()))

    async with rig.running(), trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(5.05)
        assert versions == []
        rig.ask(1, CAPTURE)
        await trio.sleep(5)
        # Emitted and in flight at the next tick, done at the one after.
        assert [version for version, _ in versions] == [1, 2]
        nursery.cancel_scope.cancel()


async def test_events_that_the_full_queue_refused_are_named_at_the_next_tick(
    autojump_clock: MockClock,
) -> None:
    rig = Rig(queue=EventQueue(10, 10))
    async with rig.running():
        await trio.sleep(0.15)
        for _ in range(15):
            rig.stream.emit(SAMPLED)
        last = rig.stream.state.seq
        assert rig.loop.has_lost(last)
        await trio.sleep(0.1)
        lost = rig.of(ev.Ticked)[1].lost
        assert lost == ((last - 4, last),)
        assert rig.loop.drops()["events-lost"] == 5
    assert rig.stream.state.control.events_lost == 5
