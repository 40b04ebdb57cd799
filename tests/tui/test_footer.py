"""The footer shows the keys that do something here and now, under the name of what they do."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ktstr_tui.link.source import Connection
from ktstr_tui.model import events as ev
from ktstr_tui.model.report import Pause
from ktstr_tui.tui.actions import action
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.footer import labels
from ktstr_tui.tui.key_bar import KeyBar
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View
from tests.tui.fakes import FakeSource, drive, press, rest, rows, screen, settle
from tests.tui.story import Story


def footer(source: FakeSource, *keys: str, size: tuple[int, int] = (120, 40)) -> str:
    """The last row after some keys."""
    return screen(source, *keys, size=size).split("\n")[-1]


def ended_story() -> FakeSource:
    """The whole tour, with its capture."""
    return FakeSource(Story().until(33))


PANES = {
    "3": (("⏎ Open", "/ Filter", "e Export", "y Copy"), ("Add watch", "Remove")),
    "4": (("/ Filter", "y Copy"), ("Open", "Export")),
    "7": (("⏎ Show hit", "w Add watch"), ("Remove", "Resume", "Export")),
    "8": ((), ("Open", "Copy", "alert", "Filter")),
    "3 enter": (("esc Back", "/ Filter", "e Export"), ("Sort", "Open")),
    "2": (("s Sort", "S Reverse", "/ Filter"), ("Open",)),
    "6 g": (("esc Back",), ("Sort", "Reverse")),
}
"""Keys to press one after the other, and what the footer shows and does not show then."""


def test_each_pane_has_its_keys() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, str]:
        found = {}
        for keys in PANES:
            await press(app, pilot, *keys.split())
            found[keys] = rows(app)[-1]
        return found

    for keys, text in drive(ended_story(), steps, (200, 60))[1].items():
        shown, hidden = PANES[keys]
        assert [it for it in shown if it not in text] == []
        assert [it for it in hidden if it in text] == []
        assert all(it in text for it in ("space Pause", "c Capture", "f Freeze", "? Help", "^q Quit"))


def test_an_empty_list_offers_nothing() -> None:
    assert "Open" not in footer(FakeSource(Story().until(18)), "3")


def test_a_node_of_a_map_opens_and_closes() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "enter", "6", "end")
        found: list[str] = []
        assert isinstance(app.focused, LinePane)
        while app.focused.cursor > 0 and len(found) < 3:
            text = rows(app)[-1]
            if "⏎ Open" in text:
                found.append("Open")
                await press(app, pilot, "enter")
                found.append("Close" if "⏎ Close" in rows(app)[-1] else rows(app)[-1])
            elif "⏎" not in text and not found:
                found.append("a leaf")
            await press(app, pilot, "up")
        return found

    assert drive(ended_story(), steps)[1] == ["a leaf", "Open", "Close"]


def test_freeze_and_pause_are_named_by_what_the_key_does() -> None:
    source = ended_story()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        found = [rows(app)[-1]]
        source.feed(
            [ev.Frozen(seq=source.state.seq + 1, mono_ns=source.state.mono_ns, reason="asked by a viewer")]
        )
        await settle(app, pilot)
        found.append(rows(app)[-1])
        source.feed(
            [ev.Thawed(seq=source.state.seq + 1, reason="asked by a viewer", pause=Pause(total_us=5.0))]
        )
        await press(app, pilot, "space")
        return [*found, rows(app)[-1]]

    before, frozen, paused = drive(source, steps)[1]
    assert "f Freeze" in before
    assert "f Thaw" in frozen
    assert "Freeze" not in frozen
    assert "f Freeze" in paused
    assert "space Resume" in paused
    assert "space Pause" in frozen


def test_a_viewer_without_control_sees_no_key_that_would_be_refused() -> None:
    source = ended_story()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, str, list[str]]:
        await press(app, pilot, "7")
        before = rows(app)[-1]
        source.controllable = False
        await settle(app, pilot)
        after = rows(app)[-1]
        await press(app, pilot, "c")
        said = [it.message for it in app._notifications]
        await press(app, pilot, "question_mark")
        return before, after, "\n".join(rows(app)), said

    before, after, help_page, said = drive(source, steps, (120, 100))[1]
    for word in ("Capture", "Freeze", "watch"):
        assert word in before
        assert word not in after
    assert "^q Quit" in after
    assert said == ["Cannot capture: attached read-only."]
    assert "Stop the guest for an instant" not in help_page
    assert "Cannot control the run: attached read-only." in help_page


@pytest.mark.parametrize("connection", ["replay", "gone", "ended", "connecting"])
def test_what_is_over_or_not_there_yet_takes_no_commands(connection: Connection) -> None:
    offered = {"watch.add": "Add watch"}
    assert {"run.capture", "run.freeze", "watch.add"} <= set(labels(View(ended_story()), offered))
    source = FakeSource(Story().until(33), connection)
    assert set(labels(View(source), offered)) == {
        "view.pause",
        "run.info",
        "help.show",
        "app.quit",
        "report.close",
        "timeline.close",
        "timeline.in",
        "timeline.out",
        "timeline.next",
        "timeline.next_mark",
    }


@pytest.mark.parametrize("keys", [("7",), ("3", "enter", "2")])
def test_what_has_no_room_is_left_out_whole_and_never_help_or_quit(keys: tuple[str, ...]) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, *keys)
        found = []
        for width in (60, 80, 99, 100, 120):
            await pilot.resize_terminal(width, 24)
            await settle(app, pilot)
            found.append(rows(app)[-1])
        return found

    found = drive(ended_story(), steps)[1]
    assert [text for text in found if not text.rstrip().endswith(("? Help ^q Quit", "? Help  ^q Quit"))] == []
    assert len(found[0]) < len(found[-1])


def test_a_click_on_a_key_presses_it() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str | None, bool, str]:
        await press(app, pilot, "4")
        bar, row = app.screen.query_one(KeyBar), rows(app)[-1]
        await pilot.hover(bar, offset=(row.index("Pause"), 0))
        about = bar.tooltip
        await pilot.click(bar, offset=(row.index("Pause"), 0))
        await settle(app, pilot)
        paused = app.view.paused
        await pilot.click(bar, offset=(len(row) + 2, 0))
        await settle(app, pilot)
        return str(about), paused and app.view.paused, rows(app)[-1]

    about, paused, row = drive(FakeSource(Story().until(18)), steps)[1]
    assert about == action("view.pause").about
    assert paused, "the click pauses, and one beside all keys changes nothing"
    assert "space Resume" in row


def test_what_a_window_covers_is_painted_once_a_second() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[int]:
        app.view.paint_hz = 5
        painted, counts = 0, []
        main = app.screen

        def sync() -> None:
            nonlocal painted
            painted += 1

        main.sync = sync  # type: ignore[attr-defined]
        for key in ("", "?", "escape"):
            if key:
                await pilot.press(key)
                await rest(app, pilot)
            painted = 0
            for _ in range(10):
                app._tick()
            counts.append(painted)
        return counts

    assert drive(FakeSource(Story().until(18)), steps)[1] == [10, 2, 10]


def test_the_timeline_stands_among_the_panes_and_its_tab_opens_it() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, str]:
        row = next(row for row in rows(app) if "0 time" in row)
        await pilot.click("#tabs", offset=(row.index("0 time") + 1, 0))
        await settle(app, pilot)
        return all(f" {key} " in row for key in "23456789"), type(app.screen).__name__

    assert drive(ended_story(), steps, (80, 24))[1] == (True, "TimelineScreen")
    assert "─ 0 timeline" in screen(ended_story())
