"""Every theme that is offered can be read: contrast is measured over the roles of text, and on the drawn screen."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual.color import Color
from textual.pilot import Pilot
from textual.screen import ModalScreen
from textual.theme import BUILTIN_THEMES

from ktstr_tui.tui import app as app_module
from ktstr_tui.tui import roles, themes
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.contrast import HIGH, READABLE, contrast, legible
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.roles import ROLES
from tests.tui.fakes import FakeSource, drive, press, rest
from tests.tui.story import END_S, Story

HIGH_CONTRAST = "ktstr-high-contrast"
COLOUR_BLIND = "ktstr-colour-blind"
DRAWN = {"spark": 3.0, "track": 1.0}
"""Roles of drawings: 3 is what WCAG 2.1 asks for of graphics (1.4.11); the empty part of a gauge is decoration."""
OFFERED = [theme.name for theme in themes.load_all()[0]]

VISIONS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip
"""Machado, Oliveira and Fernandes, A Physiologically-based Model for Simulation of Color Vision Deficiency (2009), at
severity 1.0; the matrices apply to linear RGB."""
Triple = tuple[float, float, float]


def least(name: str) -> float:
    """The contrast that text of a theme must have."""
    return HIGH if name == HIGH_CONTRAST else READABLE


def grounds(app: KtstrApp) -> dict[str, Color]:
    """Everything that a line may be drawn on, in the theme in use."""
    colours = {name: Color.parse(app.theme_variables[name]) for name in ("background", "surface", "panel")}
    for name, share in themes.TINTS.items():
        colours[name] = colours["background"].blend(Color.parse(app.theme_variables[name]), share)
    return colours


def faint_roles(app: KtstrApp) -> list[str]:
    """Roles that cannot be read on something they may be drawn on."""
    pane = app.screen.query_one("#log", LinePane)
    faint = []
    for role in ("", *ROLES):
        style = roles.style(app, role) if role else Style()
        ink = (pane.rich_style + style).color
        assert ink is not None
        below = {"its own": Color.from_rich_color(style.bgcolor)} if style.bgcolor else grounds(app)
        ratios = {where: contrast(Color.from_rich_color(ink), colour) for where, colour in below.items()}
        where = min(ratios, key=lambda it: ratios[it])
        ratio = ratios[where]
        if ratio < DRAWN.get(role, least(app.theme)):
            faint.append(f"{app.theme}: {role or 'text'} on {where}: {ratio:.2f}")
    return faint


def words(app: KtstrApp) -> Iterator[tuple[str, Style]]:
    """The drawn words with their styles; of a window only what is in it, because the rest is dimmed by intent."""
    screen = app.screen
    boxes = [it.region for it in screen.children] if isinstance(screen, ModalScreen) else [screen.region]
    for y, strip in enumerate(screen._compositor.render_strips(app.size)):
        x = 0
        for text, style, _control in strip:
            if (
                style is not None
                and any(it.isalnum() for it in text)
                and any(b.contains(x, y) for b in boxes)
            ):
                yield text, style
            x += len(text)


def faint_words(app: KtstrApp) -> list[str]:
    """Words on the drawn screen that cannot be read."""
    faint = []
    for text, style in words(app):
        assert style.color is not None
        assert style.bgcolor is not None
        ratio = contrast(Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor))
        if ratio < least(app.theme):
            faint.append(f"{app.theme}: {text!r} {style}: {ratio:.2f}")
    return faint


def test_every_theme_that_is_offered_can_be_read() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], int]:
        assert list(app.available_themes) == OFFERED
        faint, drawn = [], 0
        for name in OFFERED:
            app.theme = name
            await rest(app, pilot)
            faint += faint_roles(app) + faint_words(app)
            drawn += len(list(words(app)))
        return faint, drawn

    faint, drawn = drive(FakeSource(Story().until(END_S)), steps)[1]
    assert faint == []
    assert drawn > 100 * len(OFFERED)


def test_windows_and_the_report_can_be_read_too() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        faint = []
        for keys in ("question_mark", "w", "slash", "ctrl+q", "ctrl+p", "3 enter"):
            await press(app, pilot, *keys.split())
            for severity in ("information", "warning", "error"):
                app.say("What is said", severity, title="Title")
            for name in ("ktstr-light", HIGH_CONTRAST, "nord"):
                app.theme = name
                await rest(app, pilot)
                faint += faint_words(app)
            await press(app, pilot, "escape")
        return faint

    assert drive(FakeSource(Story().until(END_S)), steps, owner=True)[1] == []


def test_the_search_finds_what_cannot_be_read() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], list[str]]:
        grey = dict.fromkeys(themes.OWN_VARIABLES, "#888888")
        app.register_theme(dataclasses.replace(BUILTIN_THEMES["atom-one-light"], variables=grey))
        app.theme = "atom-one-light"
        await rest(app, pilot)
        return faint_roles(app), faint_words(app)

    roles, drawn = drive(FakeSource(Story().until(END_S)), steps)[1]
    assert any(": warn on " in line for line in roles)
    assert len(drawn) > 20


def test_the_tints_are_those_of_the_style_sheet() -> None:
    css = (Path(app_module.__file__).parent / KtstrApp.CSS_PATH).read_text("utf-8")
    found = re.findall(r"&\.-\w+ \{ background: \$(\w+) (\d+)%", css)
    assert {name: int(share) / 100 for name, share in found} == themes.TINTS


def test_themes_of_the_terminals_own_colours_are_not_offered() -> None:
    assert {name for name in BUILTIN_THEMES if name not in OFFERED} == {"ansi-dark", "ansi-light"}


@pytest.mark.parametrize(
    ("colour", "ground", "expected"),
    [
        ("#ffffff", "#000000", "#ffffff"),
        ("#000000", "#000000", "#777777"),
        ("#ff0000", "#ffffff", "#eb0000"),
        ("#777777", "#808080", "#161616"),
    ],
)
def test_a_colour_is_moved_no_further_than_needed(colour: str, ground: str, expected: str) -> None:
    moved = legible(Color.parse(colour), [Color.parse(ground)])
    assert moved.hex6.lower() == expected
    assert contrast(moved, Color.parse(ground)) >= READABLE


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(Color.parse("#fff"), Color.parse("#000")) == pytest.approx(21)
    # Examples that W3C's "Understanding 1.4.3" gives: the lightest grey for text on white, and one step lighter.
    assert contrast(Color.parse("#767676"), Color.parse("#fff")) >= READABLE
    assert contrast(Color.parse("#777777"), Color.parse("#fff")) < READABLE


def seen(colour: str, vision: str) -> Triple:
    """A colour in CIE Lab (D65) as somebody with this vision sees it."""
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in Color.parse(colour).rgb)
    ]
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear, strict=True)))) for row in VISIONS[vision]
    )

    def curve(part: float) -> float:
        return part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116

    x = curve((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047)
    y = curve(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    z = curve((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def alike(name: str, below: float) -> list[str]:
    """Pairs of colours of a theme that look alike to somebody."""
    theme = themes.shown(next(it for it in themes.load_all()[0] if it.name == name))
    statuses = {it: str(getattr(theme, it)) for it in ("success", "warning", "error", "accent", "foreground")}
    classes = {it: theme.variables[it] for it in theme.variables if it.startswith("class-")}
    found = []
    for vision, group in itertools.product(VISIONS, (statuses, classes)):
        for one, other in itertools.combinations(group, 2):
            distance = sum(
                (a - b) ** 2
                for a, b in zip(seen(group[one], vision), seen(group[other], vision), strict=True)
            )
            if distance**0.5 < below:
                found.append(f"{vision}: {one}, {other}: {distance**0.5:.1f}")
    return found


def test_statuses_and_classes_are_told_apart_with_every_kind_of_vision() -> None:
    assert alike(COLOUR_BLIND, 25) == []
    # The measure sees what it is there for: of Textual's own themes even the dark default fails it.
    assert any("protanopia" in pair or "deuteranopia" in pair for pair in alike("textual-dark", 25))
