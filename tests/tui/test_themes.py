"""Themes: the packaged ones and a user's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.color import Color
from textual.pilot import Pilot

from ktstr_tui.model.errors import UsageError
from ktstr_tui.tui import files, themes
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.look import Look
from tests.tui.fakes import FakeSource, drive, press, settle
from tests.tui.story import Story


def test_the_packaged_themes_load() -> None:
    loaded, errors = themes.load_all()
    own = {theme.name: theme.dark for theme in loaded if theme.name.startswith("ktstr")}
    assert own == {
        "ktstr": True,
        "ktstr-light": False,
        "ktstr-colour-blind": True,
        "ktstr-high-contrast": True,
    }
    assert list(own) == [theme.name for theme in loaded][:4]
    assert errors == []


def test_statuses_differ_in_lightness_too() -> None:
    for theme in map(themes.shown, themes.load_all()[0]):
        colours = [Color.parse(text or "") for text in (theme.success, theme.warning, theme.error)]
        assert len({colour.rgb for colour in colours}) == 3


def test_a_theme_of_the_user_is_offered(tmp_path: Path) -> None:
    directory = tmp_path / "config" / "ktstr" / "themes"
    directory.mkdir(parents=True)
    (directory / "mine.toml").write_text('name = "mine"\nprimary = "#ff00ff"\n')
    (directory / "broken.toml").write_text("name = ")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, list[str]]:
        said = [it.message for it in app._notifications]
        for name in ("mine", "textual-dark", "ktstr-light"):
            app.theme = name
            await settle(app, pilot)
            said += [it.message for it in app._notifications][1:]
        return "mine" in app.available_themes, said

    _app, (offered, said) = drive(FakeSource(Story().until(20)), steps)
    assert offered
    assert len(said) == 4
    assert "broken.toml" in said[0]
    assert said[1:] == ["Theme mine.", "Theme textual-dark.", "Theme ktstr-light."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "theme"),
        ('name = "x"\n', "primary"),
        ('name="x"\nprimary="red"\ncolour="blue"\n', "colour"),
        ('name="x"\nprimary="red"\nacent="blue"\n', 'Did you mean "accent"'),
        ('name="x"\nprimary="rde"\n', "primary"),
        ('name="x"\nprimary="ansi_red"\n', "depends on the terminal"),
        ('name="x"\nprimary="red"\nvariables=3\n', "variables"),
        ('name="x"\nprimary="red"\n[variables]\nquiet="blurple"\n', "quiet"),
    ],
)
def test_a_bad_theme_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        themes.load_theme(path)
    assert "bad.toml" in caught.value.message
    assert caught.value.hint


def start(theme: str = "", decided_by: str = "") -> KtstrApp:
    """An app as a start of the program makes it."""
    return KtstrApp(FakeSource([]), paint_hz=0, look=Look(theme=theme, decided_by=decided_by))


def test_the_choice_is_kept_for_the_next_start() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "t")
        return app.theme

    assert start().theme == "ktstr"
    assert drive(FakeSource([]), steps)[1] == "ktstr-light"
    assert start().theme == "ktstr-light"
    assert start(theme="nord").theme == "nord"


def test_a_choice_that_is_gone_or_unreadable_is_no_obstacle(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        return app.theme, [it.message for it in app._notifications]

    files.keep_theme("gone")
    assert drive(FakeSource([]), steps)[1] == ("ktstr", ["There is no theme 'gone'; this is ktstr."])
    kept = tmp_path / "state" / "ktstr-tui" / "theme"
    kept.write_bytes(b"\xff\n")
    assert start().theme == "ktstr"
    kept.unlink()
    kept.mkdir()
    assert start().theme == "ktstr"


def test_a_choice_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        (tmp_path / "state" / "ktstr-tui" / "theme").mkdir(parents=True)
        await press(app, pilot, "t")
        return [it.message for it in app._notifications]

    said = drive(FakeSource([]), steps)[1]
    assert len(said) == 1
    assert "could not be written" in said[0]


def test_who_decides_at_the_next_start_is_said() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "t")
        return [it.message for it in app._notifications]

    look = Look(theme="nord", decided_by="~/.config/ktstr/config.toml")
    said = drive(FakeSource([]), steps, look=look)[1]
    assert said == ["Theme gruvbox; the next start takes the one in ~/.config/ktstr/config.toml."]


def test_a_message_of_a_key_replaces_the_one_before() -> None:
    """Else a few presses cover the screen with what is true no more."""

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        app.view.paint_hz = 10.0
        await press(app, pilot, "t", "plus", "t", "E", "t", "minus", "E")
        return [it.message for it in app._notifications]

    shown = drive(FakeSource(Story().until(20)), steps)[1]
    assert shown == [
        "Theme ktstr-high-contrast.",
        "Refreshing 10 times a second (sampling rate unchanged).",
    ]
