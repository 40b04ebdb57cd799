"""What a hand expects of any screen: the wheel scrolls, bars show that more is there, quitting works everywhere."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from ktstr_tui.cli.screen import until_left
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.dialogs import FilterDialog, HelpPage, LeaveDialog
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.logs import LogPane
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.report_panes import COLUMNS, DocumentPane, TasksPane
from ktstr_tui.tui.report_screen import ReportScreen
from ktstr_tui.tui.watch_dialog import WatchDialog
from tests.tui.fakes import FakeSource, drive, leave, press, rows, screen, settle, until
from tests.tui.story import Story


def test_the_wheel_scrolls_and_a_bar_shows_that_rows_are_hidden() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, float, float, bool]:
        await press(app, pilot, "4")
        pane = app.screen.query_one("#log", LogPane)
        before = pane.scroll_offset.y
        pane.post_message(events.MouseScrollUp(pane, 5, 5, 0, -1, 0, shift=False, meta=False, ctrl=False))
        await settle(app, pilot)
        cpus = app.screen.query_one("#cpus", LinePane)
        return pane.show_vertical_scrollbar, before, pane.scroll_offset.y, cpus.show_vertical_scrollbar

    bar, before, after, bar_of_two_cpus = drive(FakeSource(Story().until(33)), steps, (80, 24))[1]
    assert bar
    assert 0 <= after < before
    assert not bar_of_two_cpus


@pytest.mark.parametrize(
    ("keys", "window"),
    [(("question_mark",), HelpPage), (("slash",), FilterDialog), (("w",), WatchDialog)],
)
def test_ctrl_q_asks_in_every_window(keys: tuple[str, ...], window: type) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, bool, bool]:
        await press(app, pilot, *keys)
        there = isinstance(app.screen, window)
        await press(app, pilot, "ctrl+c")
        told = len(app._notifications) > 0
        await press(app, pilot, "ctrl+q")
        return there, told or window is not HelpPage, isinstance(app.screen, LeaveDialog)

    assert drive(FakeSource(Story().until(20)), steps, owner=True)[1] == (True, True, True)


def test_ctrl_q_quits_from_a_window_of_a_viewer() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "question_mark")
        await leave(app, pilot, "ctrl+q")

    assert drive(FakeSource(Story().until(20)), steps)[0].return_value is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_closes_the_screen_and_is_nobodys_choice(number: signal.Signals) -> None:
    async def main() -> str:
        app = KtstrApp(FakeSource(Story().until(20)), owner=True)

        async def soon() -> None:
            while not app.is_running:  # noqa: ASYNC110 - Textual rings no bell
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), number)

        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(soon())
            return await until_left(app, headless=True)
        raise AssertionError

    assert asyncio.run(main()) == "gone"
    assert signal.alarm(0) == 0, "the limit for closing is lifted"


def test_a_dumb_terminal_has_the_size_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    app = KtstrApp(FakeSource([]))
    assert app.no_color
    assert not app.console.is_dumb_terminal


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_tab_goes_in_the_order_of_the_numbers(size: tuple[int, int]) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        found = []
        for key in (*["tab"] * 9, "shift+tab", "shift+tab"):
            pane = app.focused
            assert isinstance(pane, LinePane)
            assert pane.is_on_screen
            found.append(pane.number)
            await press(app, pilot, key)
        return found

    found = drive(FakeSource(Story().until(20)), steps, size)[1]
    assert found == ["1", "2", "3", "4", "5", "6", "7", "8", "9", "1", "9"]


def test_tabs_are_in_the_order_of_their_numbers() -> None:
    row = next(
        row for row in screen(FakeSource(Story().until(20)), size=(80, 24)).split("\n") if "4 log" in row
    )
    numbers = [word for word in row.split() if word.isdecimal()]
    assert numbers == ["2", "3", "4", "5", "6", "7", "8", "9", "0"]


def test_tab_goes_through_the_sections_of_a_report() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str | None]:
        await press(app, pilot, "3", "enter")
        found = []
        for key in (*["tab"] * 10, "shift+tab"):
            found.append(app.focused.id if app.focused else None)
            await press(app, pilot, key)
        return [*found, app.focused.id if app.focused else None]

    assert drive(FakeSource(Story().until(33)), steps, (80, 24))[1] == [
        "overview", "task-table", "task-detail", "vcpus", "runqueues", "dsqs", "maps", "dmesg", "changes", "history",
        "overview", "history",
    ]  # fmt: skip


def test_a_filter_applies_to_the_tab_that_it_was_asked_in() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], str]:
        await press(app, pilot, "3", "enter", "5", "slash", *"global", "enter")
        assert isinstance(app.screen, ReportScreen)
        pane = app.focused
        assert isinstance(pane, DocumentPane)
        return [pane.row_text()], "\n".join(rows(app))

    shown, text = drive(FakeSource(Story().until(33)), steps)[1]
    assert "global node 0" in shown[0]
    assert "filter: global (1 line)" in text


def test_the_kernel_log_opens_at_its_end() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[int, int]:
        await press(app, pilot, "3", "enter", "7")
        assert isinstance(app.focused, DocumentPane)
        return app.focused.cursor, app.focused.rows

    cursor, count = drive(FakeSource(Story().until(33)), steps, (80, 24))[1]
    assert count > 1
    assert cursor == count - 1


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_the_column_that_tasks_are_sorted_by_is_marked(size: tuple[int, int]) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "enter", "2")
        found = []
        for _ in range(len(COLUMNS)):
            pane = app.screen.query_one(TasksPane)
            heading = pane.heading(pane._width())
            assert heading is not None
            found.append("".join(text for text, _role in heading))
            await press(app, pilot, "s")
        return found

    headings = drive(FakeSource(Story().until(33)), steps, size)[1]
    assert all(text.count("▼") == 1 for text in headings)
    assert "by pid▼" in "".join(headings)
    assert any("cpu▼" in text for text in headings)


def test_a_screenshot_says_where_it_is_or_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        app.deliver_screenshot()
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
        app.deliver_screenshot()
        await settle(app, pilot)
        return [it.message for it in app._notifications]

    messages = drive(FakeSource(Story().until(20)), steps)[1]
    (picture,) = (tmp_path / "ktstr-tui" / "screenshots").glob("*.svg")
    assert messages[0] == f"Screenshot saved as {picture}"
    assert messages[1].startswith("The file could not be written:")


@pytest.mark.parametrize(("keys", "size"), [((), (80, 24)), (("slash",), (80, 24)), ((), (120, 40))])
def test_a_message_has_rows_of_its_own(keys: tuple[str, ...], size: tuple[int, int]) -> None:
    async def main() -> tuple[list[str], list[str]]:
        app = KtstrApp(FakeSource(Story().until(20)), paint_hz=0)
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(app, pilot)
            await press(app, pilot, "4", *keys)
            before = rows(app)
            app.say("a message of the program " + "which is long " * 5)
            await until(app, pilot, lambda: any("a message of" in row for row in rows(app)))
            await settle(app, pilot)
            return before, rows(app)

    before, after = asyncio.run(main())
    message = [row for row in after if row.startswith("▌ ")]
    assert "which is long" in message[0]
    assert len(message) < 3
    assert after[-1] == (message[-1] if keys else before[-1])
    newest = next(row for row in reversed(before) if "attached" in row)
    assert newest.split("│")[0] in [row.split("│")[0] for row in after] or keys
    field = [row for row in before if "Show only lines" in row or "escape to show all" in row]
    assert [row for row in field if row not in after] == []
    assert len(field) == 2 * len(keys)
    cut = [row for row in after if "▌" in row and not row.startswith("▌ ")]
    assert cut == []
