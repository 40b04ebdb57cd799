"""Edit to running on the screen: the keys, the comparison, the marks, and the log of what did not work out."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Failure
from ktstr_tui.model.scheduler_swap import SwapAttached, SwapRejected
from ktstr_tui.text.edit_lines import MARK, STIMULUS_MARK
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.build_page import BuildPage
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, rows, screen
from tests.tui.story import START_NS, Story

LOG = (
    "clang -c mine.bpf.c",
    "mine.bpf.c:9:1: warning: x",
    "mine.bpf.c:14:9: error: expected ';'",
    "make: *** Error 1",
)


def editing(*events: ev.Event, until_s: float = 16) -> FakeSource:
    """The tour at a scheduler that works, as a run that builds, and then some events."""
    story = Story()
    told = story.until(until_s)
    first = told[0]
    assert isinstance(first, ev.RunStarted)
    info = replace(first.info, build="make", watched_files=("mine.bpf.c",))
    source = FakeSource([replace(first, info=info), *told[1:]])
    feed(source, *events)
    return source


def feed(source: FakeSource, *events: ev.Event) -> None:
    """Tell events as of now."""
    now_ns = source.state.mono_ns or START_NS
    for event in events:
        source.feed([replace(event, seq=source.state.seq + 1, mono_ns=now_ns)])


def attached(name: str = "mine") -> list[ev.Event]:
    swap = SwapAttached(took_ms=300, loaded=name)
    return [
        ev.SchedulerChanged(change="exiting", name="fifo", exit_kind=64),
        ev.SchedulerChanged(change="attached", name=name),
        ev.SchedulerSwapped(op="replace", name=f"{name}.bpf.o", outcome=swap),
        ev.BuildLoaded(name=f"{name}.bpf.o", result="attached", build=2, since_save_ms=1900),
    ]


FAILED = ev.BuildChanged(
    build=3, phase="failed", command="make", why="save", exit_code=2, duration_ms=800, headline=LOG[2], log=LOG,
    path="/runs/x/builds/build-003.log",
)  # fmt: skip
REASON, LOADER = "R1 invalid mem access", ("0: x", "no")
REFUSED = (
    ev.SchedulerSwapped(
        op="replace",
        name="mine.bpf.o",
        outcome=SwapRejected(took_ms=9, by="verifier", reason=REASON, log=LOADER, loaded="fifo"),
    ),
    ev.BuildLoaded(name="mine.bpf.o", result="rejected", build=3),
)


def test_r_builds_and_big_r_boots_again() -> None:
    source = editing()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "r", "R")
        return rows(app)[-1]

    _app, footer = drive(source, steps)
    assert source.commands == [("rebuild", {}), ("restart", {})]
    assert "r Build" in footer


def test_a_run_that_builds_nothing_says_how_to() -> None:
    source = FakeSource(Story().until(16))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        await press(app, pilot, "r")
        return rows(app)[-1], [it.message for it in app._notifications]

    _app, (footer, notes) = drive(source, steps)
    assert source.commands == []
    assert "r Build" not in footer
    assert notes == ["This run builds nothing: start it with --build or --watch-file."]


def test_a_refusal_of_the_request_is_shown() -> None:
    source = editing()
    source.failure = Failure(message="the guest is gone", hint="", fault="guest")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "r")
        return [it.message for it in app._notifications]

    assert drive(source, steps)[1] == ["the guest is gone"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_before_and_now_stand_side_by_side(size: tuple[int, int]) -> None:
    text = screen(editing(*attached()), "2", size=size)
    assert f"{MARK} build 2  1.9 s after the save" in text
    assert "before" in text
    # Nothing was read since the change.
    assert re.search(r"wait max +24 ms +–", text)
    assert re.search(r"ejections +0 +0", text) or size == (80, 24)


def test_the_moment_is_marked_and_moves_with_the_time() -> None:
    source = editing(*attached())
    width = len(source.state.runnable_age_history)

    def place() -> int:
        from ktstr_tui.text.edit_lines import with_marks

        line = with_marks("x" * width, source.state, "spark")
        return "".join(text for text, _role in line).index(MARK)

    assert place() == width - 1
    samples = [event for event in Story().until(20) if isinstance(event, ev.Sampled)][-6:]
    feed(source, *samples)
    assert place() == width - 6
    assert MARK in screen(source, "2")


def test_operations_of_the_scenario_are_marked_too() -> None:
    source = editing(*attached())
    samples = [event for event in Story().until(20) if isinstance(event, ev.Sampled)][-6:]
    feed(source, *samples)
    feed(source, ev.StimulusApplied(step=0, op=0, kind="watch", text="watch x", outcome="done"))
    assert MARK in screen(source, "2")
    assert STIMULUS_MARK in screen(source, "2")


def test_the_log_of_a_build_that_failed_begins_with_the_line_that_matters() -> None:
    source = editing(
        FAILED, ev.AlertRaised(key="edit", kind="edit", severity="warning", text=f"build 3 failed: {LOG[2]}")
    )

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], list[str]]:
        shown = rows(app)
        await press(app, pilot, "a")
        assert isinstance(app.screen, BuildPage)
        return shown, rows(app)

    _app, (shown, page) = drive(source, steps)
    assert any("build 3 failed: mine.bpf.c:14:9: error: expected ';'" in row for row in shown)
    top = next(at for at, row in enumerate(page) if "Build 3 failed: make" in row)
    left = page[top].index("╭─ Build")
    told = [row[left:].partition("│")[2].partition("│")[0].strip(" ▁▂▃▄▅▆▇█") for row in page[top + 1 :]]
    assert next(row for row in told if "mine.bpf.c" in row) == LOG[2]
    assert page[:top] == shown[:top], "what is above the window is still seen"
    text = "\n".join(page)
    assert "clang -c mine.bpf.c" in text
    assert "/runs/x/builds/build-003.log" in text


def test_a_refused_scheduler_shows_the_loaders_log() -> None:
    source = editing(*REFUSED)

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "b")
        return "\n".join(rows(app))

    _app, text = drive(source, steps)
    assert "mine.bpf.o of build 3 was refused" in text
    assert "R1 invalid mem access" in text
    assert "0: x" in text


def test_a_new_boot_keeps_panel_filter_and_captures() -> None:
    source = FakeSource(Story().until(33))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str | None, str]:
        await press(app, pilot, "4", "slash", *"boot", "enter")
        feed(source, ev.GuestRestarted(boot=2, reason="me asked for it"))
        await press(app, pilot, "j")
        focused = app.focused
        return focused.id if focused is not None else None, "\n".join(rows(app))

    _app, (focused, text) = drive(source, steps)
    assert focused == "log"
    assert "boot 2: me asked for it" in text
    assert "step 2/3" not in text.partition("4 log")[2], "the filter stays"
    assert len(source.state.captures) == 1


@pytest.mark.parametrize("way", ["b", "a"])
def test_after_a_refusal_at_the_start_b_shows_what_the_loader_printed(way: str) -> None:
    source = FakeSource(Story().until(10))
    said = (
        "--- begin mine.bpf.o ---",
        "libbpf: x",
        "R1 invalid mem access",
        "--- end mine.bpf.o: exit code 1 ---",
    )
    reason = "verifier: R1 invalid mem access"
    feed(
        source,
        ev.OutputText(stream="sched_log", text="of the step before\n"),
        *(ev.OutputText(stream="sched_log", text=f"{line}\n") for line in said),
        ev.LifecycleChanged(phase="SchedulerNotAttached", reason=reason),
        ev.RunEnded(exit_code=2, reason="refused", fault="user", hint=""),
    )

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        footer = rows(app)[-1]
        await press(app, pilot, way)
        assert isinstance(app.screen, BuildPage)
        return footer, [row.strip(" │█▊▎▁▇▅▔") for row in rows(app)]

    _app, (footer, page) = drive(source, steps)
    assert "b Refusal" in footer
    text = "\n".join(page)
    assert "mine.bpf.o did not attach" in text
    assert page.index(reason) < page.index("libbpf: x") < page.index("R1 invalid mem access")
    assert "of the step before" not in text
    assert "scheduler.log" in text
