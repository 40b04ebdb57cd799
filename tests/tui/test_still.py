"""One instant on the screen: a snapshot is neither a run that has ended nor one of which nothing is known."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from ktstr_tui.link.still import Still
from ktstr_tui.model import events as ev
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, rows
from tests.tui.story import Story

WHAT = "tour/kept: the guest as it was at 2026-11-30T03:32:29, at the stop of capture kept."


def still() -> Still:
    """The tour, stopped in its middle."""
    events = [*Story().until(20)]
    state = FakeSource(events).state
    frozen = ev.Frozen(reason="the snapshot", viewer="", seq=state.seq + 1, mono_ns=state.mono_ns)
    return Still([*events, frozen], WHAT, "ktstr-tui restore tour/kept runs on from here")


def test_it_shows_the_state_at_that_instant_and_that_nothing_follows(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], list[str]]:
        app.view.memory = tmp_path / "kept.snap"
        await press(app, pilot, "4")
        shown = rows(app)
        await press(app, pilot, "c", "f", "shift+left", "ctrl+q")
        return shown, [it.message for it in app._notifications]

    app, (shown, said) = drive(still(), steps)
    text = "\n".join(shown)
    assert "■ snapshot" in shown[0]
    assert shown[1].endswith("■ FROZEN")
    assert f"■ SNAPSHOT  {WHAT}" in text
    assert "ENDED" not in text
    assert "INCONCLUSIVE" not in text
    assert "d drgn" in shown[-1]
    assert "Capture" not in shown[-1]
    assert said == [
        "Cannot capture: this is one instant, and nothing follows; ktstr-tui restore tour/kept runs on from here.",
        "Cannot thaw: this is one instant, and nothing follows; ktstr-tui restore tour/kept runs on from here.",
        "One instant is shown: there is no earlier or later one.",
    ]
    assert app.return_value is Leaving.DETACH


def test_panes_of_what_was_sent_to_the_run_say_that_a_snapshot_has_none_of_it() -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot)
        return "\n".join(rows(app))

    began = [it for it in Story().until(20) if isinstance(it, ev.RunStarted)]
    text = drive(Still(began, WHAT, "ktstr-tui restore tour/kept runs on from here"), steps, (120, 40))[1]
    assert text.count("None in a snapshot: ") == 2
    assert "No heartbeats yet" not in text
    assert "No frames" not in text
