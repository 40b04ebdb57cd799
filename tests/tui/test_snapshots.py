"""The screen as text, at three sizes, compared with what was found good.

``KTSTR_SNAPSHOTS=write`` writes them anew. Text is compared, not a picture, so a new release of Textual that
only draws differently breaks nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ktstr_tui.link.source import Connection
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.report_screen import SECTIONS
from tests.tui.fakes import FakeSource, drive, press, rows, screen
from tests.tui.story import Story

DIRECTORY = Path(__file__).parent / "snapshots"
SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


def compare(name: str, text: str) -> None:
    """Compare with the kept snapshot, or write it when asked to."""
    path = DIRECTORY / f"{name}.txt"
    if os.environ.get("KTSTR_SNAPSHOTS") == "write":
        DIRECTORY.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "at_s", "keys", "topology", "connection"),
    [
        ("empty", 0.0, (), "1n1l2c1t", "connecting"),
        ("fifo", 18.0, (), "1n1l2c1t", "live"),
        ("stalling", 29.5, ("4",), "1n1l2c1t", "live"),
        ("ejected", 33.0, ("3",), "1n1l2c1t", "live"),
        ("many-cpus", 25.0, (), "2n4l8c2t", "live"),
        ("gone", 33.0, (), "1n1l2c1t", "gone"),
        ("replay", 33.0, ("5",), "1n1l2c1t", "replay"),
    ],
)
def test_main_screen(
    size: str, name: str, at_s: float, keys: tuple[str, ...], topology: str, connection: Connection
) -> None:
    events = Story(topology).until(at_s) if at_s else []
    compare(f"{name}-{size}", screen(FakeSource(events, connection), *keys, size=SIZES[size]))


@pytest.mark.parametrize("size", SIZES)
def test_report(size: str) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, str]:
        await press(app, pilot, "3", "enter")
        found: dict[str, str] = {}
        for key, (name, _key, _label) in zip("123456789", SECTIONS, strict=True):
            await press(app, pilot, key)
            found[name] = "\n".join(rows(app))
        return found

    for name, text in drive(FakeSource(Story().until(33)), steps, SIZES[size])[1].items():
        compare(f"report-{name}-{size}", text)


@pytest.mark.parametrize("size", SIZES)
def test_windows(size: str) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, str]:
        found = {}
        for name, key in (("help", "question_mark"), ("info", "i"), ("filter", "slash"), ("leave", "ctrl+q")):
            await press(app, pilot, key)
            found[name] = "\n".join(rows(app))
            await press(app, pilot, "escape")
        return found

    for name, text in drive(FakeSource(Story().until(33)), steps, SIZES[size], owner=True)[1].items():
        compare(f"{name}-{size}", text)
