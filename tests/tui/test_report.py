"""The report screen: what is on top, its sections, sorting and filtering."""

from __future__ import annotations

import msgspec
import pytest
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.report import CaptureReport, MapReport, placeholder
from ktstr_tui.text import report_lines
from ktstr_tui.text.lines import text_of
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.report_panes import COLUMNS
from ktstr_tui.tui.report_screen import ReportScreen
from tests.tui.fakes import FakeSource, drive, press, rows, screen, settle
from tests.tui.story import Story

OPEN = ("3", "enter")


def with_report(report: CaptureReport) -> FakeSource:
    """A run whose newest capture is ``report``."""
    source = FakeSource(Story().until(20))
    source.feed([ev.CaptureTaken(seq=source.state.seq + 1, mono_ns=source.state.mono_ns, report=report)])
    return source


def every_section(source: FakeSource, size: tuple[int, int]) -> list[str]:
    """The newest report's sections, one text each."""

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, *OPEN)
        found = []
        for key in "1234567":
            await press(app, pilot, key)
            found.append("\n".join(rows(app)))
        return found

    return drive(source, steps, size)[1]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_stalled_task_is_on_top(size: tuple[int, int]) -> None:
    text = screen(with_report(Story().report()), *OPEN, size=size)
    top = " ".join(text.split("\n")[:4])
    assert "ERROR_STALL" in top
    assert "spin-1[201] runnable for 4.100 s in DSQ 0x7, allowed CPUs 0-1" in " ".join(top.split())


def test_sections() -> None:
    expected = (
        [
            "exit_kind=ERROR_STALL (1026)",
            "failed to run for 4.100s (read after the guest resumed)",
            "registers 310 µs",
        ],
        ["spin-1[201]", "kworker/0:1[11]", "age▼", "scx_state/flags=ENABLED/0xd"],
        ["rip=ffffffff8119c05b", "scx_watchdog_workfn+0x11c", "curr=swapper/0[0]"],
        ["CPU 0", "nr_run=3", "ops_qseq=435", "kick_sync=440", "runnable_list:"],
        ["0x7", "nr=6", "spin-1[201] → spin-0[200]", "global node 0"],
        ["stall.bss", "nr_enqueued 40213", "stopped true", "4096 of 10240", "not rendered"],
        ["disabled (runnable task stall)", "read after the thaw"],
    )
    for text, parts in zip(every_section(with_report(Story().report()), (120, 40)), expected, strict=True):
        for part in parts:
            assert part in text


def test_tasks_are_sorted_by_any_column_both_ways() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[tuple[str, list[int]]]:
        await press(app, pilot, *OPEN, "2")
        assert isinstance(app.screen, ReportScreen)
        table = app.screen.tasks
        found = []
        for _ in COLUMNS:
            await press(app, pilot, "s")
            found.append((COLUMNS[table.sort_column].name, [it.pid for it in table._items]))
        await press(app, pilot, "S")
        found.append(("age reversed", [it.pid for it in table._items]))
        return found

    _app, found = drive(with_report(Story().report()), steps)
    by_name = dict(found)
    assert by_name["pid"] == [11, 15, 40, 103, 200, 201]
    assert by_name["task"] == [103, 40, 11, 15, 200, 201]
    assert by_name["age"] == [201, 200, 11, 103, 15, 40]
    assert by_name["age reversed"] == [40, 15, 103, 11, 200, 201]


def test_the_cursor_stays_on_its_task_when_the_order_changes() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[int, int, str]:
        await press(app, pilot, *OPEN, "2", "down", "down")
        assert isinstance(app.screen, ReportScreen)
        before = app.screen.tasks.chosen()
        await press(app, pilot, "S")
        after = app.screen.tasks.chosen()
        assert before is not None
        assert after is not None
        return before.pid, after.pid, "\n".join(rows(app))

    _app, (before, after, text) = drive(with_report(Story().report()), steps)
    assert before == after == 11
    assert "R kworker/0:1[11]" in text


def test_a_click_on_a_heading_sorts() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, *OPEN, "2")
        await pilot.click("#task-table", offset=(14, 1))
        await settle(app, pilot)
        assert isinstance(app.screen, ReportScreen)
        return COLUMNS[app.screen.tasks.sort_column].name

    assert drive(with_report(Story().report()), steps)[1] == "task"


def test_tasks_are_filtered() -> None:
    text = screen(with_report(Story().report()), *OPEN, "2", "slash", *"kworker", "enter")
    assert "filter: kworker (1 of 6)" in text
    assert "rcu_preempt" not in text


def test_folded_maps_are_one_line_and_a_ring_says_what_is_unread() -> None:
    maps = (
        MapReport(id=21, name="", map_type="queue", key_size=0, count=4088, state={"last_id": 4108}),
        MapReport(id=22, name="ring", map_type="ringbuf", state={"unread_bytes": 32}),
    )
    report = msgspec.structs.replace(Story().report(), maps=maps)
    text = every_section(with_report(report), (120, 40))[5]
    assert "4,088 maps without a name queue, ids 21 to 4108, key 0 B" in text
    assert "unread_bytes 32" in text


def test_maps_open_and_close() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, *OPEN, "6", "down", "enter")
        closed = "\n".join(rows(app))
        await press(app, pilot, "down", "enter", "down", "enter")
        return closed, "\n".join(rows(app))

    _app, (closed, opened) = drive(with_report(Story().report()), steps)
    assert "nr_enqueued" not in closed
    assert "shared=20110" in opened
    assert "[1]" in opened


def test_escape_goes_back() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> type:
        await press(app, pilot, *OPEN, "escape")
        return type(app.screen)

    assert drive(with_report(Story().report()), steps)[1] is MainScreen


def test_what_is_missing_cut_or_late_is_said() -> None:
    report = msgspec.structs.replace(
        Story().report(), dsqs=(), unavailable={"dsqs": "dsq_hash was torn in 3 tries"}
    )
    top = screen(with_report(report), *OPEN)
    assert (
        "▲ unavailable dsqs ▲ truncated maps · exit_info and dmesg were read after the guest resumed" in top
    )
    assert "unavailable: dsqs: dsq_hash was torn in 3 tries" in screen(with_report(report), *OPEN, "5")


def test_a_placeholder_says_why_in_every_section() -> None:
    source = with_report(placeholder("key-001", "on-demand", "the vCPUs did not stop in 3 s"))
    assert "failed: the vCPUs did not stop in 3 s" in screen(source, "3")
    for text in every_section(source, (120, 40)):
        assert "the vCPUs did not stop in 3 s" in text


def test_an_empty_report_can_be_shown() -> None:
    source = with_report(CaptureReport(tag="key-001", trigger="on-demand"))
    for text in every_section(source, (80, 24)):
        assert "key-001" in text


def test_documents_fit_the_width_they_were_made_for() -> None:
    report = Story("1n1l16c1t").report()
    sections = (
        report_lines.overview,
        report_lines.vcpus,
        report_lines.runqueues,
        report_lines.dsqs,
        report_lines.dmesg,
    )
    for width in (76, 116, 196):
        for compose in sections:
            assert max(len(text_of(line)) for line in compose(report, width)) <= width
