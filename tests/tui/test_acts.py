"""A scenario that explains its steps: the guest is frozen until a key, where somebody watches their own run."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from ktstr_tui.guest.scenario import load_scenario
from ktstr_tui.model import events as ev
from ktstr_tui.tui.acts import AT_WORK_NS, WHY, ActPage
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, leave, press, rows, settle
from tests.tui.story import START_NS, Story

FREEZE: tuple[str, dict[str, object]] = ("freeze", {"why": WHY, "while_here": True})
THAW: tuple[str, dict[str, object]] = ("thaw", {})
ABOUT = ("Look at [curr].", "", "It stalls.", "It ends.")


SAMPLED = next(it for it in Story().until(10) if isinstance(it, ev.Sampled))


def begun() -> FakeSource:
    info = replace(Story().info(), about=ABOUT, steps=("baseline", "plain", "stall", "end"))
    return FakeSource([ev.RunStarted(info=info, seq=1, mono_ns=START_NS)])


async def step(source: FakeSource, app: KtstrApp, pilot: Pilot[Leaving], index: int) -> bool:
    """Begin a step; whether it is explained."""
    state = source.state
    name = state.info.steps[index] if state.info is not None else ""
    at_ns = state.mono_ns
    started = ev.StepStarted(index=index, name=name, scheduler="none", seq=state.seq + 1, mono_ns=at_ns)
    source.feed([started, replace(SAMPLED, seq=state.seq + 2, mono_ns=at_ns + AT_WORK_NS)])
    await settle(app, pilot)
    return isinstance(app.screen, ActPage)


def test_each_step_that_says_something_is_explained_until_a_key() -> None:
    source = begun()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        assert await step(source, app, pilot, 0)
        assert source.commands == [FREEZE]
        shown = "\n".join(rows(app))
        assert "Step 1 of 4: baseline" in shown
        assert "Look at [curr]." in shown
        await press(app, pilot, "enter")
        assert source.commands == [FREEZE, THAW]
        assert not isinstance(app.screen, ActPage)
        assert not await step(source, app, pilot, 1), "it has nothing to say"
        assert await step(source, app, pilot, 2)
        await press(app, pilot, "n")
        assert source.commands == [FREEZE, THAW] * 2
        assert not await step(source, app, pilot, 3), "no more pauses"

    drive(source, steps, owner=True, explain=True)


def test_it_is_explained_when_the_tasks_of_the_step_are_at_work() -> None:
    source = begun()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        events: list[ev.Event] = [
            ev.StepStarted(index=0, name="baseline", scheduler="none", seq=2, mono_ns=START_NS),
            replace(SAMPLED, seq=3, mono_ns=START_NS + AT_WORK_NS - 1),
            replace(SAMPLED, seq=4, mono_ns=START_NS + AT_WORK_NS),
        ]
        for event in events:
            assert not isinstance(app.screen, ActPage)
            source.feed([event])
            await settle(app, pilot)
        assert isinstance(app.screen, ActPage)

    drive(source, steps, owner=True, explain=True)


def test_a_run_without_samples_is_explained_at_once() -> None:
    info = replace(Story().info(), about=ABOUT, steps=("baseline", "plain", "stall", "end"), sample_hz=0.0)
    source = FakeSource([ev.RunStarted(info=info, seq=1, mono_ns=START_NS)])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        source.feed([ev.StepStarted(index=0, name="baseline", scheduler="none", seq=2, mono_ns=START_NS)])
        await settle(app, pilot)
        assert isinstance(app.screen, ActPage)

    drive(source, steps, owner=True, explain=True)


def test_nothing_waits_unless_asked_to() -> None:
    source = begun()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        assert not await step(source, app, pilot, 0)

    drive(source, steps, owner=True)
    assert source.commands == []


@pytest.mark.parametrize("answer", ["l", "e"])
def test_whoever_leaves_meanwhile_leaves_no_frozen_guest(answer: str) -> None:
    source = begun()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        assert await step(source, app, pilot, 0)
        await press(app, pilot, "ctrl+q")
        await leave(app, pilot, answer)

    drive(source, steps, owner=True, explain=True)
    assert source.commands == [FREEZE, THAW]


def test_the_tour_explains_every_step_of_its_own() -> None:
    tour = load_scenario("tour")
    assert all(len(it.about) > 100 for it in tour.steps)
    assert "watchdog" in tour.steps[2].about
    other = tour.with_scheduler("demo:starve")
    assert [bool(it.about) for it in other.steps] == [True, False, False]
