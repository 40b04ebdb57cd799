"""Windows leave to be seen what is below them, and open wherever their key is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import ModalScreen, Screen

import ktstr_tui.tui.app as program
from ktstr_tui.model import events as ev
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.tui.actions import ACTIONS
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.run_screen import RunScreen
from tests.tui.fakes import FakeSource, drive, press, rows
from tests.tui.story import Story

SIZE = (120, 40)
PLACES = {"main": (), "report": ("3", "enter"), "timeline": ("0",)}
"""Keys that lead to each screen."""


def below(kind: type[object]) -> list[type[object]]:
    """All classes of the program below one."""
    found = [it for one in kind.__subclasses__() for it in (one, *below(one))]
    return [it for it in found if it.__module__.startswith("ktstr_tui")]


def seeded(tmp_path: Path) -> FakeSource:
    """A run that everything can be asked of."""
    (tmp_path / IDENTITY_FILE).touch()
    began, *later = Story().until(33)
    assert isinstance(began, ev.RunStarted)
    info = msgspec.structs.replace(began.info, data_dir=str(tmp_path), seed=7)
    return FakeSource([msgspec.structs.replace(began, info=info), *later])


def test_every_window_has_a_place_of_its_own_in_the_style_sheet() -> None:
    styled = (Path(program.__file__).parent / "ktstr.tcss").read_text("utf-8")
    rules = [line.split("{")[0] for line in styled.splitlines() if " align: " in line]
    placed = {name.strip() for rule in rules for name in rule.split(",")}
    # Textual's palette has its place from Textual.
    windows = [it for it in below(ModalScreen) if not issubclass(it, CommandPalette)]
    assert len(windows) > 8
    assert [it.__name__ for it in windows if not placed & {one.__name__ for one in it.__mro__}] == []


@pytest.mark.parametrize("place", PLACES)
def test_the_keys_of_windows_open_them_on_every_screen(place: str, tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, tuple[str, bool]]:
        await press(app, pilot, *PLACES[place])
        assert isinstance(app.screen, RunScreen)
        assert app.screen.place == place
        below_it, found = rows(app)[1], {}
        for key in ("question_mark", "i", "slash", "w", "H", "B"):
            await press(app, pilot, key)
            found[key] = (type(app.screen).__name__, rows(app)[1] == below_it)
            await press(app, pilot, "escape")
        return found

    assert drive(seeded(tmp_path), steps, SIZE)[1] == {
        "question_mark": ("HelpPage", True),
        "i": ("InfoPage", True),
        "slash": ("FilterDialog", True),
        "w": ("WatchDialog", True),
        "H": ("HoldDialog", True),
        "B": ("BackDialog", True),
    }


@pytest.mark.parametrize("place", PLACES)
def test_the_palette_offers_what_works_on_the_screen_below(place: str, tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[Screen[object], set[str]]:
        await press(app, pilot, *PLACES[place])
        screen = app.screen
        return screen, {it.title for it in app.get_system_commands(screen)}

    app, (screen, titles) = drive(seeded(tmp_path), steps, SIZE)
    offered = [it for it in ACTIONS if f"{it.label} ({it.id})" in titles]
    assert len(offered) > 20
    for it in offered:
        name = f"action_{it.run.removeprefix('app.').partition('(')[0]}"
        assert hasattr(screen, name) or hasattr(app, name), f"{it.id} does nothing here"
    assert any(it.place == place for it in offered)
    assert {it for it in titles if "(" not in it} == {"Theme", "Screenshot"}, "of Textual's own"
    assert not any(it.place in PLACES and it.place != place for it in offered)


def test_the_palette_is_left_by_the_key_that_quits(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "ctrl+p")
        opened = type(app.screen).__name__
        await press(app, pilot, "ctrl+q")
        return opened

    app, opened = drive(seeded(tmp_path), steps, SIZE)
    assert (opened, app.return_value) == ("Palette", Leaving.DETACH)
