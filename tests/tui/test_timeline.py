"""The timeline on the screen: it follows the run, stays where one looks, and shows the exact times."""

from __future__ import annotations

import struct

from textual.pilot import Pilot

from ktstr_tui.history.blocks import block_of
from ktstr_tui.model import events as ev
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.timeline_screen import TimelineScreen
from tests.tui.fakes import FakeSource, drive, press, rows, screen, settle
from tests.tui.story import Story

MS = 1_000_000
RECORD = struct.Struct("<QIIHHHH7q")


def block(begin_ns: int, switches: list[tuple[int, int, int, int]], mono_ns: int) -> TraceBlock:
    """A block of a second of switches: time, CPU, the task that comes, the one that goes."""
    events = b"".join(
        RECORD.pack(t, 0, 0, 1, cpu, 0, 1, pid, prev, 0, 0, 0, 120, 0) for t, cpu, pid, prev in switches
    )
    end_ns = begin_ns + 1000 * MS
    names = {201: "spin-1", 200: "spin-0"}
    return block_of(
        events, begin_ns=begin_ns, end_ns=end_ns, now_ns=end_ns, mono_ns=mono_ns, comms=names, lost={}
    )


def source() -> FakeSource:
    found = FakeSource(Story().until(25))
    made = block(
        0, [(250 * MS, 0, 201, 0), (500 * MS, 0, 200, 201), (750 * MS, 0, 201, 200)], found.state.mono_ns
    )
    found.feed([ev.TraceRead(seq=found.state.seq + 1, mono_ns=found.state.mono_ns, block=made)])
    return found


def test_lanes_are_shown_at_80_columns_and_say_what_is_missing() -> None:
    text = screen(source(), "0", size=(80, 24))
    assert "follows the newest moment" in text
    assert "cpu 0" in text
    assert "spin-1[201]" in text
    assert "No event of the kernel's trace is known" in screen(
        FakeSource(Story().until(25)), "0", size=(80, 24)
    )


def test_tasks_that_ran_or_waited_most_have_lanes_until_one_is_chosen() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[object]:
        await press(app, pilot, "0")
        assert isinstance(app.screen, TimelineScreen)
        pane, found = app.screen.pane, list[object]()
        found.append((list(pane.pids), "who ran or waited most" in rows(app)[0]))
        await press(app, pilot, "j", "j", "x")
        found.append(list(pane.pids))
        await press(app, pilot, "x", "x")
        found.append((list(pane.pids), "who ran or waited most" in rows(app)[0]))
        await press(app, pilot, "escape")
        return found

    # 200 ran 250 ms and waits for the last 250 ms; 201 ran 500 ms.
    assert drive(source(), steps, (120, 40))[1] == [([200, 201], True), [201], ([], False)]


def test_a_task_gets_a_lane_and_its_events_are_found() -> None:
    run = source()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[object]:
        await press(app, pilot, "0", "z", "j", "enter")
        assert isinstance(app.screen, TimelineScreen)
        pane, found = app.screen.pane, list[object]()
        found.append(list(pane.pids))
        for key in ("N", "N", "n", "left", "right", "end"):
            await press(app, pilot, key)
            found.append(pane.look().at_ns // MS)
        later = block(1000 * MS, [(1500 * MS, 0, 0, 201)], run.state.mono_ns + 1000 * MS)
        run.feed([ev.TraceRead(seq=run.state.seq + 1, mono_ns=later.mono_ns, block=later)])
        await settle(app, pilot)
        found.append(pane.look().at_ns // MS)
        text = "\n".join(rows(app))
        await press(app, pilot, "escape")
        return [*found, "1500.000" in text or "-0.500000" in text, type(app.screen)]

    assert drive(run, steps, (120, 40))[1] == [[201], 750, 500, 750, 740, 750, 1000, 2000, True, MainScreen]


def test_a_key_that_finds_nothing_says_why() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "0", "n", "semicolon", "x", "home", "N")
        return [it.message for it in app._notifications]

    assert drive(source(), steps, (120, 40))[1] == [
        "No later event of spin-0[200] is known.",
        "There is no later mark.",
        "Only the lane of a task can be removed.",
        "No earlier event of spin-0[200] is known.",
    ]


def test_the_footer_names_what_enter_does_and_the_cursor_stays_on_its_lane() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "0")
        found = [rows(app)[-1]]
        for key in ("j", "j", "enter", "k", "enter"):
            await press(app, pilot, key)
            found.append(rows(app)[-1])
        return [it.split(" esc ")[0].strip() for it in found]

    only, remove = "⏎ Only this lane", "⏎ Remove lane"
    assert drive(source(), steps, (120, 40))[1] == ["", only, only, remove, "⏎ Add lane", remove]


def test_a_filter_leaves_the_lanes_that_match() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "0")
        before = "\n".join(rows(app))
        await press(app, pilot, "slash", *"spin", "enter")
        return before, "\n".join(rows(app))

    before, after = drive(source(), steps, (120, 40))[1]
    assert "cpu 0   " in before
    assert "spin-1[201]" in after
    assert "│ cpu 0   " not in after
    assert "at +0.000000 s" in after, "what is under the cursor is no lane"


def test_the_key_of_the_timeline_closes_it_too() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[type]:
        await press(app, pilot, "0")
        opened = type(app.screen)
        await press(app, pilot, "0")
        return [opened, type(app.screen)]

    assert drive(source(), steps)[1] == [TimelineScreen, MainScreen]


def test_the_trace_is_asked_for_when_the_timeline_of_the_run_is_opened() -> None:
    run = source()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[bool]:
        before = run.wants_trace
        await press(app, pilot, "0")
        return [before, run.wants_trace]

    assert drive(run, steps)[1] == [False, True]
