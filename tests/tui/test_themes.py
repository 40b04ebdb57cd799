"""Themes: the packaged ones and a user's."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color
from textual.pilot import Pilot

from ktstr_tui.model.errors import UsageError
from ktstr_tui.tui import themes
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, settle
from tests.tui.story import Story


def test_the_packaged_themes_load() -> None:
    loaded, errors = themes.load_all()
    assert {theme.name: theme.dark for theme in loaded} == {"ktstr": True, "ktstr-light": False}
    assert errors == []


@pytest.mark.parametrize("name", ["ktstr", "ktstr-light"])
def test_colours_can_be_read_on_their_background(name: str) -> None:
    theme = next(it for it in themes.load_all()[0] if it.name == name)
    background = Color.parse(theme.background or "")
    texts = [theme.foreground, theme.success, theme.warning, theme.error, theme.accent]
    texts += [value for key, value in theme.variables.items() if key.startswith(("class-", "quiet"))]
    assert min(Color.parse(text or "").get_contrast_text().brightness >= 0 for text in texts)
    ratios = [contrast(Color.parse(text or ""), background) for text in texts]
    assert min(ratios) >= 4.5


def contrast(one: Color, other: Color) -> float:
    """WCAG's contrast ratio."""

    def luminance(colour: Color) -> float:
        parts = [value / 255 for value in colour.rgb]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_statuses_differ_in_lightness_too() -> None:
    for theme in themes.load_all()[0]:
        colours = [Color.parse(text or "") for text in (theme.success, theme.warning, theme.error)]
        assert len({colour.rgb for colour in colours}) == 3


def test_a_theme_of_the_user_is_offered(tmp_path: Path) -> None:
    directory = tmp_path / "config" / "ktstr-tui" / "themes"
    directory.mkdir(parents=True)
    (directory / "mine.toml").write_text('name = "mine"\nprimary = "#ff00ff"\n')
    (directory / "broken.toml").write_text("name = ")

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[bool, list[str]]:
        for name in ("mine", "textual-dark", "ansi-dark", "ktstr-light"):
            app.theme = name
            await settle(app, pilot)
        return "mine" in app.available_themes, [it.message for it in app._notifications]

    _app, (offered, said) = drive(FakeSource(Story().until(20)), steps)
    assert offered
    assert len(said) == 1
    assert "broken.toml" in said[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "theme"),
        ('name = "x"\n', "primary"),
        ('name="x"\nprimary="red"\ncolour="blue"\n', "colour"),
    ],
)
def test_a_bad_theme_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        themes.load_theme(path)
    assert "bad.toml" in caught.value.message
    assert caught.value.hint
