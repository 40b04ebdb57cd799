"""Folding a recording again: equal state at every tick, equal actions, byte for byte, whatever the queue refused."""

from __future__ import annotations

import msgspec
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ktstr_tui.control.executor import RetryLaterError
from ktstr_tui.control.queue import EventQueue
from ktstr_tui.control.replay import emitted_by_tick, replay
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import GuestError
from ktstr_tui.wire.codec import decode_event, encode_event
from tests.unit.control.rig import Dispatched, Rig
from tests.unit.link.strategies import any_event

PLAN = ct.ControlPlan(
    name="run",
    duration_s=3,
    freeze_limit_s=1,
    periodic=5,
    scenario_ms=2000,
    early=True,
    sample_hz=10,
    keep_attached=True,
)


async def _work(pending: ct.PendingAction) -> None:
    await trio.sleep(0.05 * (pending.id % 4))
    if pending.id % 5 == 0:
        raise GuestError("gone")
    if pending.id % 7 == 0:
        raise RetryLaterError(0.05, "later")


class Flaky:
    name, every_s = "flaky", 0.0

    def __init__(self) -> None:
        self.reads = 0

    async def read(self) -> dict[str, float | None]:
        self.reads += 1
        if self.reads % 3 == 0:
            raise OSError("off")
        return {"x": self.reads / 7, "y": None}


async def _live(events: list[ev.Event], capacity: int, gap_s: float) -> Rig:
    rig = Rig(PLAN, queue=EventQueue(capacity, capacity), dispatcher=Dispatched(_work))
    rig.loop.probes.install(Flaky())
    async with rig.running():
        for number, event in enumerate(events):
            rig.scenario_ns = round(number * 0.2e9)
            rig.frozen_ns += number % 3 * 1_000_000
            rig.stream.emit(msgspec.structs.replace(event, seq=0, mono_ns=0))
            if number % 4 == 0:
                await trio.sleep(gap_s)
        await trio.sleep(0.5)
    return rig


# A made-up tick, or word of the beginning, is not one of the loop's.
NOT_MADE_UP = (ev.Ticked, ev.LoopStarted, ev.ProbeRead, ev.ProbeFailed, ev.ActionChanged)
EVENTS = st.lists(any_event().filter(lambda it: not isinstance(it, NOT_MADE_UP)), max_size=40)


@given(events=EVENTS, capacity=st.sampled_from([2, 5, 1024]), gap_s=st.sampled_from([0.0, 0.03, 0.11]))
@settings(max_examples=60)
def test_a_recording_folded_again_gives_the_same_state_and_the_same_actions(
    events: list[ev.Event], capacity: int, gap_s: float
) -> None:
    rig = trio.run(_live, events, capacity, gap_s, clock=MockClock(autojump_threshold=0))
    recorded = [decode_event(encode_event(event)) for event in rig.events]
    check(recorded)


def check(recorded: list[ev.Event]) -> int:
    """Fold a recording again and compare; returns how many ticks there were."""
    emitted, ticks = emitted_by_tick(recorded), 0
    for tick in replay(recorded):
        ticks += 1
        assert tick.same_state, tick.tick
        assert [(it.id, msgspec.msgpack.encode(it.action)) for it in tick.actions] == emitted[tick.tick]
    assert ticks == len(emitted)
    return ticks


async def test_a_loop_that_lost_events_is_folded_again_without_them(autojump_clock: MockClock) -> None:
    line = ev.Logged(severity="info", source="x", text="y")
    asked = ev.ActionAsked(command_seq=-1, by="guest", wanted=ct.TakeCapture(trigger="guest"))
    rig = await _live([line, *[line] * 30, asked], 3, 0.0)
    assert rig.loop.drops()["events-lost"] > 0
    assert check(rig.events) > 3


async def test_a_changed_recording_is_found_out(autojump_clock: MockClock) -> None:
    frozen = ev.Frozen(reason="ada")
    rig = await _live([frozen], 1024, 0.0)
    changed = [
        msgspec.structs.replace(it, reason="eve") if isinstance(it, ev.Frozen) else it for it in rig.events
    ]
    assert not all(tick.same_state for tick in replay(changed))
