"""What is shown and what may be asked for."""

from __future__ import annotations

import pytest

from ktstr_tui.link.source import Connection
from ktstr_tui.model import events as ev
from ktstr_tui.model.events import Severity
from ktstr_tui.model.fold import fold
from ktstr_tui.model.kinds import AlertKind
from ktstr_tui.model.still import still
from ktstr_tui.tui.headline import headline_of
from ktstr_tui.tui.view import View
from tests.tui.fakes import FakeSource
from tests.tui.story import START_NS, Story


def test_a_paused_state_does_not_change_while_the_source_goes_on() -> None:
    events = Story().until(33)
    source = FakeSource(events[:200])
    view = View(source)
    before = still(source.state)
    assert view.toggle_pause()
    source.feed(events[200:])
    assert view.state == before
    assert view.behind == len(events) - 200
    assert not view.toggle_pause()
    assert view.state is source.state
    assert view.behind == 0


def test_a_replaced_state_is_noticed() -> None:
    source = FakeSource(Story().until(10))
    view = View(source)
    source.state = FakeSource(Story().until(20)).state
    assert view.state is source.state


def test_alerts_come_worst_first_then_oldest() -> None:
    raised = [
        ev.AlertRaised(
            seq=1, mono_ns=START_NS, key="b", kind="imbalance", severity="warning", text="old warning"
        ),
        ev.AlertRaised(
            seq=2, mono_ns=START_NS + 1, key="c", kind="imbalance", severity="error", text="error"
        ),
        ev.AlertRaised(
            seq=3, mono_ns=START_NS + 2, key="a", kind="imbalance", severity="warning", text="new warning"
        ),
    ]
    view = View(FakeSource(list(raised)))
    assert [it.text for it in view.alerts()] == ["error", "old warning", "new warning"]
    view.step_alert(-1)
    alert = view.alert()
    assert alert is not None
    assert alert.text == "new warning"
    view.step_alert(1)
    assert headline_of(view).sentence == "error"


def test_what_ends_the_run_first_comes_first() -> None:
    kinds: tuple[tuple[AlertKind, Severity], ...] = (
        ("imbalance", "error"), ("stall", "error"), ("runnable-age", "error"), ("ejected", "error"),
        ("attach", "warning"),
    )  # fmt: skip
    view = View(FakeSource([]))
    for number, (kind, severity) in enumerate(kinds, 1):
        alert = ev.AlertRaised(seq=number, mono_ns=number, key=kind, kind=kind, severity=severity, text=kind)
        fold(view.source.state, alert)
    assert [it.kind for it in view.alerts()] == ["ejected", "runnable-age", "stall", "imbalance", "attach"]


@pytest.mark.parametrize(
    ("connection", "words"),
    [("replay", "replay"), ("gone", "gone"), ("ended", "ended"), ("connecting", "not connected")],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(connection: Connection, words: str) -> None:
    assert words in View(FakeSource([], connection)).refusal("capture")


def test_a_read_only_viewer_may_not_touch_the_run() -> None:
    source = FakeSource(Story().until(10))
    view = View(source)
    assert view.refusal("freeze") == ""
    source.controllable = False
    assert "read-only" in view.refusal("freeze")


def test_no_data_is_not_called_healthy() -> None:
    head = headline_of(View(FakeSource([])))
    assert head.role == "info"
    assert "BOOTING" in head.badge
