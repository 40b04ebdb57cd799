"""Enter on a vCPU: what it does, what concerns it, and what the newest capture says of it."""

from __future__ import annotations

from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.drill_window import DrillWindow
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.report_screen import ReportScreen
from tests.tui.fakes import FakeSource, drive, press, rows, settle
from tests.tui.story import Story


def test_a_vcpu_is_shown_live_with_its_alerts_and_its_part_of_the_newest_capture() -> None:
    source = FakeSource(Story().until(33))
    source.feed(
        [
            ev.AlertRaised(
                seq=source.state.seq + 1,
                key="x",
                kind="local-dsq",
                severity="warning",
                text="queue grows",
                cpu=1,
            )
        ]
    )

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str, str | None]:
        await press(app, pilot, "j", "enter")
        assert isinstance(app.screen, DrillWindow)
        before = "\n".join(rows(app))
        sample = source.state.cpus[1].latest
        source.state.cpus[1].latest = type(sample)(cpu=1, curr_comm="newcomer", curr_pid=77, curr_class="ext")
        source.feed([ev.Logged(seq=source.state.seq + 1, severity="info", source="x", text="time goes on")])
        await settle(app, pilot)
        after = "\n".join(rows(app))
        await press(app, pilot, "enter")
        assert isinstance(app.screen, ReportScreen)
        return before, after, app.focused.id if app.focused else None

    before, after, section = drive(source, steps, (120, 60))[1]
    for part in (
        "vCPU 1",
        "spin-1[201]",
        "queue grows",
        "in capture error-001",
        "CPU 1   : nr_run=3",
        "rip=",
    ):
        assert part in before
    assert "newcomer" not in before
    assert "newcomer[77]" in after
    assert section == "vcpus"


def test_without_a_capture_enter_stays_and_escape_goes_back() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[type]]:
        await press(app, pilot, "enter")
        text = "\n".join(rows(app))
        found: list[type] = []
        for key in ("enter", "escape"):
            await press(app, pilot, key)
            found.append(type(app.screen))
        return text, found

    text, found = drive(FakeSource(Story().until(18)), steps, (80, 24))[1]
    assert "no capture of this CPU yet" in text
    assert found == [DrillWindow, MainScreen]


def test_the_heading_of_a_group_has_no_details() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, type, str]:
        heading = rows(app)[-1]
        await press(app, pilot, "enter")
        kind = type(app.screen)
        assert isinstance(app.focused, LinePane)
        await press(app, pilot, "j")
        return heading, kind, rows(app)[-1]

    heading, kind, cpu = drive(FakeSource(Story("2n4l8c2t").until(18)), steps)[1]
    assert "Details" not in heading
    assert kind is MainScreen
    assert "⏎ Details" in cpu
