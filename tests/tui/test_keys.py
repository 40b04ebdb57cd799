"""Every key of the main screen does what the registry says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Failure
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.cpus import CpuPane
from ktstr_tui.tui.dialogs import HelpPage, InfoPage, LeaveDialog
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.logs import LogPane
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.report_screen import ReportScreen
from tests.tui.fakes import FakeSource, drive, leave, press, rows, screen, settle
from tests.tui.story import START_NS, Story

PANELS = {
    "1": "cpus", "2": "scheduler", "3": "captures", "4": "log", "5": "output", "6": "wire", "7": "watch", "8": "beats",
}  # fmt: skip


def ended_story() -> FakeSource:
    """The whole tour, with its capture."""
    return FakeSource(Story().until(33))


def notes(app: KtstrApp) -> list[str]:
    """Messages that were shown for a moment."""
    return [it.message for it in app._notifications]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_numbers_focus_panels_and_bring_them_forward(size: tuple[int, int]) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, tuple[str | None, bool]]:
        found = {}
        for key in PANELS:
            await press(app, pilot, key)
            focused = app.focused
            found[key] = (
                focused.id if focused else None,
                bool(focused and focused.is_on_screen and focused.size),
            )
        return found

    _app, found = drive(ended_story(), steps, size)
    assert found == {key: (pane, True) for key, pane in PANELS.items()}


def test_pause_stops_the_display_and_resuming_catches_up() -> None:
    events = Story().until(33)
    cut = next(number for number, event in enumerate(events) if event.mono_ns > START_NS + 20 * 10**9)
    source = FakeSource(events[:cut])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, str]:
        await press(app, pilot, "space")
        before = "\n".join(rows(app))
        source.feed(events[cut:])
        await settle(app, pilot)
        during = "\n".join(rows(app))
        await press(app, pilot, "space")
        return before, during, "\n".join(rows(app))

    _app, (before, during, after) = drive(source, steps)
    behind = len(events) - cut
    assert "paused, 0 events behind" in before
    assert f"paused, {behind} events behind" in during
    assert before.replace("paused, 0 events", f"paused, {behind} events").split() == during.split()
    assert "ERROR_STALL" not in during
    assert "ERROR_STALL" in after
    assert "‖" not in after
    assert source.state.seq == len(events)


def test_capture_and_freeze_ask_the_run() -> None:
    source = ended_story()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "c", "f")
        source.feed(
            [ev.Frozen(seq=source.state.seq + 1, mono_ns=source.state.mono_ns, reason="asked by a viewer")]
        )
        await settle(app, pilot)
        assert any("FROZEN" in row for row in rows(app))
        await press(app, pilot, "f")

    drive(source, steps)
    assert [name for name, _args in source.commands] == ["capture", "freeze", "thaw"]


def test_a_failed_command_shows_message_and_hint() -> None:
    source = ended_story()
    source.failure = Failure(message="no answer in 3 s", hint="look at the log", fault="guest")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "c")
        return notes(app)

    assert drive(source, steps)[1] == ["no answer in 3 s look at the log"]


def test_a_new_capture_is_announced_once() -> None:
    events = Story().until(33)
    at = next(number for number, event in enumerate(events) if isinstance(event, ev.CaptureTaken))
    source = FakeSource(events[:at])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        source.feed(events[at:])
        await settle(app, pilot)
        return notes(app)

    _app, found = drive(source, steps)
    assert len(found) == 1
    assert found[0].startswith("error-001: spin-1[201] runnable for 4.100 s")


def test_alerts_are_stepped_through_and_opened() -> None:
    source = ended_story()
    source.feed(
        [
            ev.AlertRaised(
                seq=source.state.seq + 1,
                mono_ns=START_NS,
                key="x",
                kind="local-dsq",
                severity="warning",
                text="queue grows",
                cpu=1,
            )
        ]
    )

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, int]:
        await press(app, pilot, "right_curly_bracket")
        second = "\n".join(rows(app))
        await press(app, pilot, "a")
        cursor = app.screen.query_one(CpuPane).cursor
        await press(app, pilot, "left_curly_bracket", "a")
        return second, type(app.screen).__name__, cursor

    _app, (second, opened, cursor) = drive(source, steps)
    assert "queue grows" in second
    assert "alert 2 of 2" in second
    assert cursor == 1
    assert opened == "ReportScreen"


def test_captures_are_stepped_through_in_the_list_and_in_the_report() -> None:
    source = ended_story()
    later = Story().report("key-002")
    source.feed([ev.CaptureTaken(seq=source.state.seq + 1, mono_ns=source.state.mono_ns, report=later)])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        assert isinstance(app.screen, MainScreen)
        await press(app, pilot, "left_square_bracket")
        assert app.screen.captures.cursor == 1
        await press(app, pilot, "right_square_bracket", "enter")
        found = []
        for key in ("left_square_bracket", "left_square_bracket", "right_square_bracket"):
            assert isinstance(app.screen, ReportScreen)
            await press(app, pilot, key)
            found.append(app.screen.capture.report.tag)
        return found

    assert drive(source, steps)[1] == ["error-001", "error-001", "key-002"]


def test_filtering_the_log_while_typing() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "4", "slash", *"fifo", "enter")
        filtered = "\n".join(rows(app))
        await press(app, pilot, "slash", "escape")
        return filtered, "\n".join(rows(app))

    _app, (filtered, whole) = drive(ended_story(), steps)
    assert "filter: fifo (3 lines)" in filtered
    assert "stall attached" not in filtered
    assert "stall attached" in whole or "ejected" in whole
    assert "filter:" not in whole


def test_the_log_follows_its_end_until_the_reader_leaves_it() -> None:
    source = ended_story()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, str]:
        await press(app, pilot, "4", "g")
        seq = source.state.seq
        source.feed(
            [
                ev.Logged(
                    seq=seq + 1, mono_ns=source.state.mono_ns, severity="info", source="x", text="brand new"
                )
            ]
        )
        await settle(app, pilot)
        away = "\n".join(rows(app))
        await press(app, pilot, "G")
        back = "\n".join(rows(app))
        source.feed(
            [
                ev.Logged(
                    seq=seq + 2, mono_ns=source.state.mono_ns, severity="info", source="x", text="newer yet"
                )
            ]
        )
        await settle(app, pilot)
        return away, back, "\n".join(rows(app))

    _app, (away, back, after) = drive(source, steps)
    assert "1 new line below" in away
    assert "brand new" not in away
    assert "brand new" in back
    assert "newer yet" in after


def test_keys_typed_in_one_breath_reach_the_panel_just_chosen() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        for key in ("3", "enter"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settle(app, pilot)
        return type(app.screen).__name__

    assert drive(ended_story(), steps)[1] == "ReportScreen"


def test_moving_in_a_pane() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[int]:
        pane = app.focused
        assert isinstance(pane, LinePane)
        found = []
        for key in ("j", "down", "k", "G", "g", "pagedown", "pageup"):
            await press(app, pilot, key)
            found.append(pane.cursor)
        return found

    _app, found = drive(FakeSource(Story("1n1l64c1t").until(20)), steps)
    assert found[:5] == [1, 2, 1, 63, 0]
    assert found[5] > 5
    assert found[6] == 0


def test_copying_a_row_fills_clipboard_and_file(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        await press(app, pilot, "3", "y")
        return app.clipboard, notes(app)

    _app, (clipboard, said) = drive(ended_story(), steps)
    assert clipboard.split()[:3] == ["error-001", "ERROR_STALL", "spin-1[201]"]
    copied = tmp_path / "state" / "ktstr-tui" / "copied.txt"
    assert copied.read_text() == clipboard + "\n"
    assert str(copied) in said[0]


def test_copying_where_nothing_can_be_written_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "y")
        return notes(app)

    assert "could not be written" in drive(ended_story(), steps)[1][0]


def test_exporting_writes_the_report_as_json(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "e")
        return app.clipboard

    path = Path(drive(ended_story(), steps)[1])
    assert path == tmp_path / "state" / "ktstr-tui" / "exports" / "tour-error-001.json"
    assert json.loads(path.read_text())["stalled"]["pid"] == 201


def test_exporting_names_the_backends_own_file_when_it_is_here(tmp_path: Path) -> None:
    saved = tmp_path / "key-002.json"
    saved.write_text("{}")
    source = ended_story()
    event = ev.CaptureTaken(seq=source.state.seq + 1, report=Story().report("key-002"), path=str(saved))
    source.feed([event])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "e")
        return app.clipboard

    assert drive(source, steps)[1] == str(saved)


def test_paint_rate_and_theme() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[float, float, str, str]:
        app.view.paint_hz = 10.0
        await press(app, pilot, "plus")
        fast = app.view.paint_hz
        await press(app, pilot, "minus", "minus")
        slow = app.view.paint_hz
        first = app.theme
        await press(app, pilot, "t")
        return fast, slow, first, app.theme

    assert drive(ended_story(), steps)[1] == (20.0, 5.0, "ktstr", "ktstr-light")


def test_windows_open_and_close() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[type]:
        found: list[type] = []
        for key in ("question_mark", "escape", "i", "escape"):
            await press(app, pilot, key)
            found.append(type(app.screen))
        return found

    assert drive(ended_story(), steps)[1] == [HelpPage, MainScreen, InfoPage, MainScreen]


def test_the_accelerator_and_its_reason_are_one_key_away() -> None:
    text = screen(ended_story(), "i")
    assert "KVM failed: MSR 0x10a; see `ktstr-tui doctor`" in text
    assert "TCG" in screen(ended_story(), size=(80, 24))


def test_a_viewer_just_detaches() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await leave(app, pilot, "ctrl+q")

    assert drive(ended_story(), steps)[0].return_value == "detach"


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("e",), "end"),
        (("l",), "leave"),
        (("enter",), "end"),
        (("right", "enter"), "leave"),
        (("ctrl+q",), "leave"),
    ],
)
def test_the_owner_is_asked(keys: tuple[str, ...], answer: str) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "ctrl+q")
        assert isinstance(app.screen, LeaveDialog)
        await leave(app, pilot, *keys)

    assert drive(ended_story(), steps, owner=True)[0].return_value == answer


def test_the_owner_may_stay() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "ctrl+q", "escape")
        assert isinstance(app.screen, MainScreen)

    assert drive(ended_story(), steps, owner=True)[0].return_value is None


def test_tabs_and_rows_take_the_mouse() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str | None, str]:
        x = next(row for row in rows(app) if "4 log" in row).index("4 log")
        await pilot.click("#tabs", offset=(x + 1, 0))
        await settle(app, pilot)
        focused = app.focused.id if app.focused else None
        await press(app, pilot, "3")
        await pilot.click("#captures", offset=(5, 1), times=2)
        await settle(app, pilot)
        return focused, type(app.screen).__name__

    assert drive(ended_story(), steps, (80, 24))[1] == ("log", "ReportScreen")


def test_a_hidden_pane_is_not_loaded() -> None:
    loaded: list[str] = []

    class Counting(LogPane):
        def load(self, view: object, width: int) -> int:
            loaded.append("log")
            return 0

    source = ended_story()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        pane = app.screen.query_one("#log", LogPane)
        pane.__class__ = Counting
        await press(app, pilot, "5")
        loaded.clear()
        source.feed([ev.Logged(seq=source.state.seq + 1, severity="info", source="x", text="unseen")])
        await settle(app, pilot)

    drive(source, steps)
    assert loaded == []
