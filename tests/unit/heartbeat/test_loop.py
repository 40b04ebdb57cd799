"""The loop: drained before it looks, also under a flood; one wake takes many."""

from __future__ import annotations

import socket
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from ktstr_tui.heartbeat.events import SenderStalled
from ktstr_tui.heartbeat.loop import UNBOUNDED_QUEUE, BeatLoop
from ktstr_tui.heartbeat.observer import BATCH
from tests.unit.heartbeat.watching import THRESHOLD_NS, Watch, frame, listening, sender


class Flood:
    """A socket that never runs dry, with a beat behind so many datagrams."""

    def __init__(self, watch: Watch, behind: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.queue_length: int | None = None
        self.taken = 0
        self._watch = watch
        self._behind = behind

    def receive(self) -> int:
        before, self.taken = self.taken, self.taken + BATCH
        if before < self._behind <= self.taken:
            self._watch.guest(frame(7, 2))
        return BATCH


async def test_a_waiting_beat_is_taken_before_silence_is_stated(tmp_path: Path) -> None:
    watch = Watch()
    with listening(watch, tmp_path / "s") as here, sender(tmp_path / "s") as there:
        loop = BeatLoop([watch.observer], [here])
        there.send(frame(nonce=1))
        assert loop.drain() == 1
        watch.now_ns += THRESHOLD_NS
        there.send(frame(nonce=2))
        await loop.look()
        assert watch.observer.take_events() == []
        watch.now_ns += THRESHOLD_NS
        await loop.look()
        assert [type(event) for event in watch.observer.take_events()] == [SenderStalled]


async def test_a_flood_of_dropped_datagrams_causes_no_false_stall(tmp_path: Path) -> None:
    watch = Watch()
    watch.guest(frame(7, 1))
    flood = Flood(watch, behind=UNBOUNDED_QUEUE)
    loop = BeatLoop([watch.observer], [flood])
    watch.now_ns += THRESHOLD_NS
    await loop.look()
    assert watch.observer.take_events() == []
    assert flood.taken >= UNBOUNDED_QUEUE
    flood.sock.close()


async def test_an_endless_flood_does_not_hold_off_a_true_stall(tmp_path: Path) -> None:
    watch = Watch()
    watch.guest(frame(7, 1))
    flood = Flood(watch, behind=1 << 60)
    loop = BeatLoop([watch.observer], [flood])
    watch.now_ns += THRESHOLD_NS
    await loop.look()
    assert [type(event) for event in watch.observer.take_events()] == [SenderStalled]
    flood.sock.close()


async def test_a_look_that_has_nothing_to_state_drains_nothing() -> None:
    watch = Watch()
    watch.guest(frame(7, 1))
    flood = Flood(watch, behind=1 << 60)
    loop = BeatLoop([watch.observer], [flood])
    watch.now_ns += THRESHOLD_NS - 1
    await loop.look()
    assert flood.taken == 0
    watch.now_ns += 1
    await loop.look()
    taken = flood.taken
    assert taken > 0
    await loop.look()
    assert flood.taken == taken, "it has been stated"
    watch.observer.expect([8])
    watch.now_ns += THRESHOLD_NS
    await loop.look()
    assert flood.taken > taken
    flood.sock.close()


async def test_others_are_drained_before_silence_is_stated() -> None:
    watch = Watch()
    watch.guest(frame(7, 1))

    async def port() -> None:
        await trio.lowlevel.checkpoint()
        watch.guest(frame(7, 2))

    loop = BeatLoop([watch.observer], drain_others=port)
    watch.now_ns += THRESHOLD_NS
    await loop.look()
    assert watch.observer.take_events() == []


async def test_looks_keep_their_distance(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    watch = Watch()
    monkeypatch.setattr(watch.observer, "is_due", lambda: True)
    slow = {3: 0.5}

    async def drain() -> None:
        await trio.sleep(slow.get(len(looks), 0))

    loop = BeatLoop(
        [watch.observer], drain_others=drain, after_look=lambda: looks.append(trio.current_time())
    )
    with trio.move_on_after(1.0):
        await loop.run()
    gaps = [round(later - sooner, 3) for sooner, later in pairwise(looks)]
    assert max(gaps) == 0.55, "the slow one"
    assert all(gap >= 0.049 for gap in gaps), "and none came in a bunch behind it"
    (took,) = loop.histograms[0].collect()
    counted = {it.name: it.value for it in took.samples}["varta_observer_iteration_seconds_count"]
    assert loop.iterations == counted == len(looks)


async def test_a_wake_takes_what_has_come(tmp_path: Path) -> None:
    watch = Watch(each_beat=True)
    with listening(watch, tmp_path / "s") as here, sender(tmp_path / "s") as there:
        loop = BeatLoop([watch.observer], [here], tick_s=3600)
        async with trio.open_nursery() as nursery:
            await nursery.start(loop.run)
            for nonce in range(1, 9):
                there.send(frame(nonce=nonce))
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert here.statistics().taken == 8
            nursery.cancel_scope.cancel()
    assert len(watch.observer.take_events()) == 8
