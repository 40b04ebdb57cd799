"""The heartbeat pane: who beats, who is silent, and the way from there to the reason."""

from __future__ import annotations

from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import BeatRow
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.beats import BeatsPane
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, screen

SENTENCE = (
    "spin-0[201] silent 2.1 s: runnable for 2.0 s in DSQ 0x13, allowed CPUs 1, running there: nothing (idle)"
)


def row(comm: str, pid: int, age_ms: float, **more: object) -> BeatRow:
    values = {"domain": "guest", "status": "ok", "origin": "hypervisor", "nonce": 9, **more}
    return BeatRow(comm=comm, pid=pid, age_ms=age_ms, **values)  # type: ignore[arg-type]


def observed(*rows: BeatRow, tracked: int | None = None) -> ev.BeatsObserved:
    return ev.BeatsObserved(
        rows=rows,
        tracked=len(rows) if tracked is None else tracked,
        threshold_ms=2000.0,
        counters={},
        mono_ns=5_000_000_000,
    )


STALLED: list[ev.Event] = [
    observed(
        row("spin-0", 201, 2100.0, stalled=True),
        row("pipe-1", 204, 60.0, missed=3),
        row("", 4711, 900.0, domain="host", origin="kernel", status="degraded"),
        tracked=70,
    ),
    ev.BeatStalled(
        domain="guest",
        pid=201,
        comm="spin-0",
        silent_ms=2100,
        last_nonce=9,
        origin="hypervisor",
        text=SENTENCE,
    ),
    ev.AlertRaised(key="beat-guest-201", kind="silence", severity="error", text=SENTENCE, cpu=1, pid=201),
]


def test_before_the_first_beat_the_pane_says_what_will_come() -> None:
    assert "No heartbeats yet." in screen(FakeSource([]), "8", size=(160, 60))


def test_the_silent_come_first_and_ages_are_bars() -> None:
    shown = screen(FakeSource(STALLED), "8", size=(200, 60))
    lines = [line for line in shown.splitlines() if "spin-0[201]" in line and "█" in line]
    assert "████████" in lines[0]
    assert "■ spin-0[201]" in lines[0]
    assert "2.1 s" in lines[0]
    alive = next(line for line in shown.splitlines() if "pipe-1[204]" in line)
    assert "░░░░░░░" in alive
    assert "60 ms" in alive
    host = next(line for line in shown.splitlines() if "[4711] host" in line)
    assert "▲" in host
    assert "1 stalled, 67 more" in shown


def test_the_sentence_stands_in_the_bar() -> None:
    shown = " ".join(screen(FakeSource(STALLED), size=(200, 60)).split())
    assert "spin-0[201] silent 2.1 s: runnable for 2.0 s in DSQ 0x13, allowed CPUs 1" in shown


def test_enter_on_a_sender_leads_to_its_cpu() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "8", "enter")
        first = app.focused.id if app.focused else ""
        await press(app, pilot, "8", "down", "enter")
        second = app.focused.id if app.focused else ""
        return str(first), str(second)

    assert drive(FakeSource(STALLED), steps, (200, 60))[1] == ("cpus", "beats")


def test_a_hostile_name_is_no_markup() -> None:
    shown = screen(FakeSource([observed(row("[red]\x1b[2J", 7, 1.0))]), "8", size=(200, 60))
    assert "[red]" in shown
    assert "\x1b" not in shown


def test_the_row_is_copied_in_full() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "8", "down")
        return app.screen.query_one(BeatsPane).row_text()

    text = drive(FakeSource(STALLED), steps, (100, 40))[1]
    assert text.startswith("● pipe-1[204]")
    assert text.endswith("hypervisor")
