"""Terminals of every size: too small ones say so, narrow ones lose columns and not the ends of words."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.dialogs import LeaveDialog
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, leave, press, rows, screen, settle
from tests.tui.story import Story


def ended_story() -> FakeSource:
    """The whole tour, with its capture."""
    return FakeSource(Story().until(33))


@pytest.mark.parametrize("keys", [(), ("3", "enter")])
def test_a_terminal_that_is_too_small_is_told_the_size_it_needs(keys: tuple[str, ...]) -> None:
    sizes = ((20, 5), (40, 10), (59, 40), (200, 14))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, *keys)
        found = []
        for size in (*sizes, (1, 1)):
            await pilot.resize_terminal(*size)
            await settle(app, pilot)
            found.append(" ".join("\n".join(rows(app)).split()))
        return found

    *found, one_cell = drive(ended_story(), steps)[1]
    assert found == [
        f"Terminal too small: {width}x{height}, needs 60x15. The run continues. ctrl+q quits."
        for width, height in sizes
    ]
    assert len(one_cell) == 1


def test_the_screen_is_back_as_it_was_when_the_terminal_grows() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], str, list[str], str | None]:
        await press(app, pilot, "4")
        before = rows(app)
        await pilot.resize_terminal(20, 5)
        await settle(app, pilot)
        small = "\n".join(rows(app))
        await pilot.resize_terminal(120, 40)
        await settle(app, pilot)
        return before, small, rows(app), app.focused.id if app.focused else None

    before, small, after, focused = drive(ended_story(), steps)[1]
    assert "too small" in small
    assert after == before
    assert focused == "log"


def test_quitting_works_in_a_terminal_that_is_too_small() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "ctrl+q")
        assert isinstance(app.screen, LeaveDialog)
        shown = "\n".join(rows(app))
        await leave(app, pilot, "e")
        return shown

    app, shown = drive(ended_story(), steps, (20, 5), owner=True)
    assert "e end" in shown
    assert app.return_value == "end"


@pytest.mark.parametrize("keys", [(), ("3", "enter")])
def test_the_smallest_size_shows_every_tab_and_column(keys: tuple[str, ...]) -> None:
    text = screen(ended_story(), *keys, size=(60, 15))
    if not keys:
        assert "clock" in text
        assert "1.8ms" in text
    tabs = next(row for row in text.split("\n") if "5 " in row and "8 " in row)
    assert [number for number in "2345678" if f" {number} " not in tabs] == []
