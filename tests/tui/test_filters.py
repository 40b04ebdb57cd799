"""``/`` filters the pane it is pressed in, whichever that is, on the main screen and in a report."""

from __future__ import annotations

from textual.pilot import Pilot

from ktstr_tui.text.lines import text_of
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.pane import LinePane
from tests.tui.fakes import FakeSource, drive, press, rows, settle
from tests.tui.story import Story

MAIN = {
    "1": ("spin-1", "1 vCPU", "spin-1[201]"),
    "2": ("last", "2 rows", "last change"),
    "3": ("STALL", "1 capture", "error-001"),
    "4": ("fifo", "3 lines", "step 2/3 fifo"),
    "5": ("linux", "1 line", "Linux version"),
    "6": ("stdout", "1 row", "Stdout 32"),
    "7": ("30.1", "2 rows", "hits, newest first"),
}
"""Key of a pane: a text to filter by, how many rows are left, and what the first of them says."""
REPORT = {
    "1": ("stalled", "1 line", "stalled task"),
    "2": ("kcomp", "1 of 6", "kcompactd0"),
    "3": ("rip", "2 lines", "rip="),
    "4": ("cpu 1", "1 line", "CPU 1"),
    "5": ("global", "1 line", "global node 0"),
    "7": ("stall", "3 lines", "stall"),
}


async def filtered(app: KtstrApp, pilot: Pilot[Leaving], key: str, text: str) -> tuple[str, str]:
    """The border's remark and the first row of the pane of a key, filtered by a text."""
    await press(app, pilot, key, "slash")
    app.screen.query_one("#filter-text").value = text  # type: ignore[attr-defined]
    await press(app, pilot, "enter")
    pane = app.focused
    assert isinstance(pane, LinePane)
    assert pane.number == key or not pane.number
    row = text_of(pane.row(0, 100)) if pane.rows else ""
    return str(pane.border_subtitle), row


def check(found: dict[str, tuple[str, str]], wanted: dict[str, tuple[str, str, str]]) -> None:
    """Compare what each pane says of its filter, and its first row."""
    for key, (text, count, first) in wanted.items():
        remark, row = found[key]
        assert remark.startswith(f"filter: {text} ({count})")
        assert first in row


def test_every_pane_of_the_main_screen_is_filtered() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, tuple[str, str]]:
        return {key: await filtered(app, pilot, key, text) for key, (text, _count, _row) in MAIN.items()}

    check(drive(FakeSource(Story().until(33)), steps)[1], MAIN)


def test_every_section_of_a_report_is_filtered() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, tuple[str, str]]:
        await press(app, pilot, "3", "enter")
        return {key: await filtered(app, pilot, key, text) for key, (text, _count, _row) in REPORT.items()}

    check(drive(FakeSource(Story().until(33)), steps)[1], REPORT)


def test_maps_are_searched_below_what_is_open() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], str]:
        await press(app, pilot, "3", "enter", "6")
        pane = app.focused
        assert isinstance(pane, LinePane)
        whole = [text_of(pane.row(index, 100)) for index in range(pane.rows)]
        value = next(word for word in reversed(" ".join(whole).split()) if word.isdecimal() and len(word) > 2)
        remark, _row = await filtered(app, pilot, "6", value)
        assert f"filter: {value} (" in remark
        return [value, *(text_of(pane.row(index, 100)) for index in range(pane.rows))], "\n".join(whole)

    (value, *shown), whole = drive(FakeSource(Story().until(33)), steps)[1]
    assert 0 < len(shown) < whole.count("\n") + 1
    assert any(value in row for row in shown)


def test_a_filter_is_named_where_panes_have_no_border_and_says_when_nothing_is_left() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await filtered(app, pilot, "1", "nothing like it")
        await settle(app, pilot)
        return "\n".join(rows(app))

    text = drive(FakeSource(Story().until(33)), steps, (80, 24))[1]
    assert "/ Filter: nothing lik…" in text
    assert "No vCPU matches 'nothing like it'. Clear the filter to show all." in text
