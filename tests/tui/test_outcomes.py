"""What became of a run decides words and colours everywhere: a table of outcomes, and every widget for each."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot

from ktstr_tui.link.source import Connection
from ktstr_tui.model import events as ev
from ktstr_tui.model.beats import BeatRow
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.bars import BriefBar, HeaderBar, VerdictBar
from ktstr_tui.tui.beats import BeatsPane
from ktstr_tui.tui.cpus import CpuPane
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.lists import CapturesPane, WirePane
from ktstr_tui.tui.pane import LineBar, LinePane
from ktstr_tui.tui.scheduler import SchedulerPane
from ktstr_tui.tui.view import View
from ktstr_tui.tui.watch_pane import WatchPane
from tests.tui.fakes import FakeSource, drive
from tests.tui.story import Story

GREEN = {"ok", "badge-ok"}
CONNECTED = ("● live", "ok")
"""Green in the header: that is about the connection."""
MEASURED = {"cpus", "beats", "watch"}
"""Panes that may be green in a run that goes on, whatever became of its scheduler."""


def end(code: int, reason: str, fault: str = "") -> ev.RunEnded:
    return ev.RunEnded(exit_code=code, reason=reason, fault=fault, hint="read the console" if fault else "")


class Outcome(NamedTuple):
    """One row of the table."""

    name: str
    at_s: float
    """How much of the story came before."""
    then: tuple[ev.Event, ...]
    connection: Connection
    badge: str
    role: str
    sentence: str
    past: str = ""
    """What stands in the rows of CPUs of a run that is not seen any more."""


PANIC = end(4, "the guest's kernel panicked: Attempted to kill init!", "guest")
REFUSED = ev.LifecycleChanged(phase="SchedulerNotAttached", reason="demo:bad: libbpf: no kfunc scx_bpf_x")
REJECTED = end(2, "refused", "user")
ATTACHED = ev.SchedulerChanged(change="attached", name="fifo")
EJECTED = end(1, 'scheduler "stall" was ejected: ERROR_STALL (scenario finished)')
DIED = ev.LifecycleChanged(phase="SchedulerDied", reason="x: signal 11")
STOOD = end(5, "inconclusive: QEMU was stopped")
OUTCOMES = [
    Outcome("well", 18, (), "live", "● OK", "ok", "making progress"),
    Outcome("ended-well", 18, (end(0, "scenario finished"),), "ended", "● OK", "ok", "scenario finished", "ended"),
    Outcome("panic", 18, (PANIC,), "ended", "■ FAILED", "bad", "kernel panicked", "ended"),
    Outcome("panic-just-now", 18, (PANIC,), "live", "■ FAILED", "bad", "kernel panicked", "ended"),
    Outcome("panic-after-ejection", 33, (PANIC,), "ended", "■ FAILED", "bad", "kernel panicked", "ended"),
    Outcome("no-qemu", 2, (end(3, "QEMU ended", "host"),), "ended", "■ FAILED", "bad", "QEMU ended", "ended"),
    Outcome("rejected", 10, (REFUSED,), "live", "■ REJECTED", "bad", "no kfunc"),
    Outcome("rejected-ended", 18, (REFUSED, REJECTED), "ended", "■ REJECTED", "bad", "no kfunc", "ended"),
    Outcome("ejected", 33, (), "live", "■ EJECTED", "bad", "stall ejected: ERROR_STALL"),
    Outcome("ejected-then-another", 33, (ATTACHED,), "live", "■ EJECTED", "bad", "stall ejected: ERROR_STALL"),
    Outcome("ejected-frozen", 33, (ev.Frozen(reason="me"),), "live", "■ EJECTED", "bad", "stall ejected"),
    Outcome("ejected-ended", 33, (EJECTED,), "ended", "■ EJECTED", "bad", "stall ejected", "ended"),
    Outcome("died", 10, (DIED,), "live", "■ EJECTED", "bad", "signal 11"),
    Outcome("frozen", 18, (ev.Frozen(reason="me@host"),), "live", "■ FROZEN", "info", "by me@host"),
    Outcome("frozen-stalling", 29.5, (ev.Frozen(reason="me"),), "live", "■ FROZEN", "info", "runnable for"),
    Outcome("gone", 18, (), "gone", "× BACKEND GONE", "bad", "No response", "gone"),
    Outcome("gone-frozen", 18, (ev.Frozen(reason="me"),), "gone", "× BACKEND GONE", "bad", "No response", "gone"),
    Outcome("lost", 18, (), "connecting", "○ CONNECTING", "warn", "No answer", "old"),
    Outcome("cut-off", 18, (), "ended", "? RECORDING ENDS", "info", "before the end of its run", "ended"),
    Outcome("host-stood", 33, (STOOD,), "ended", "? INCONCLUSIVE", "info", "stopped", "ended"),
]  # fmt: skip
BEATS = ev.BeatsObserved(
    rows=(BeatRow(domain="guest", pid=7, status="ok", origin="hypervisor", age_ms=10.0, nonce=1),),
    tracked=1,
    threshold_ms=2000.0,
    counters={},
)


def source_of(outcome: Outcome) -> FakeSource:
    source = FakeSource(Story().until(outcome.at_s), outcome.connection)
    for event in (BEATS, *outcome.then):
        state = source.state
        source.feed([replace(event, seq=state.seq + 1, mono_ns=state.mono_ns)])
    return source


WIDGETS: tuple[LineBar | LinePane, ...] = (
    HeaderBar("header"), VerdictBar("verdict"), BriefBar("brief"), CpuPane("cpus"), SchedulerPane("scheduler"),
    CapturesPane("captures"), WatchPane("watch"), BeatsPane("beats"), WirePane("wire"),
)  # fmt: skip
"""All that show what is now; the logs show what was. They compose their lines without a terminal."""


def look(outcome: Outcome) -> dict[str, list[tuple[str, str]]]:
    """What every widget shows, as ``(text, role)`` spans."""
    view = View(source_of(outcome))
    shown = {}
    for widget in WIDGETS:
        if isinstance(widget, LineBar):
            lines = widget.lines(view, 120)
        else:
            widget.sync(view, force=True)
            lines = [widget.row(index, 110) for index in range(widget.rows)]
        shown[widget.id or ""] = [span for line in lines for span in line]
    return shown


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda it: it.name)
def test_every_widget_follows_the_outcome(outcome: Outcome) -> None:
    shown = look(outcome)
    verdict = shown["verdict"]
    assert verdict[0] == (f" {outcome.badge} ", f"badge-{outcome.role}")
    assert outcome.sentence in "".join(text for text, _role in verdict)
    well = outcome.role == "ok" and not outcome.past
    frozen = any(isinstance(it, ev.Frozen) for it in outcome.then)
    for name, spans in shown.items():
        green = [it for it in spans if it[1] in GREEN and it != CONNECTED]
        if name == "verdict":
            assert bool(green) == (outcome.role == "ok"), name
        elif well:
            assert green or name not in ("header", "scheduler", *MEASURED), name
        elif outcome.past or frozen or name not in MEASURED:
            assert not green, f"{name} is green: {green}"


@pytest.mark.parametrize("outcome", [it for it in OUTCOMES if it.past], ids=lambda it: it.name)
def test_what_is_past_is_not_shown_as_live(outcome: Outcome) -> None:
    shown = look(outcome)
    for name in ("cpus", "brief", "beats"):
        assert {role for text, role in shown[name] if text.strip()} <= {"dim", "head"}, name
    whole = {name: "".join(text for text, _role in spans) for name, spans in shown.items()}
    assert whole["cpus"].count(f"○ {outcome.past}") == (0 if outcome.name == "no-qemu" else 2)
    for text in whole.values():
        assert "● run" not in text
        assert "● armed" not in text
    assert "none (EEVDF)" not in whole["header"]
    assert "EEVDF is in charge" not in whole["scheduler"]
    assert "was armed" in whole["watch"] or outcome.name == "no-qemu"
    assert "up " not in whole["header"]


def test_a_healthy_run_is_shown_as_live() -> None:
    shown = look(OUTCOMES[0])
    whole = {name: "".join(text for text, _role in spans) for name, spans in shown.items()}
    assert "● run" in whole["cpus"]
    assert "● armed" in whole["watch"]
    assert "● enabled" in whole["scheduler"]
    assert "up " in whole["header"]


def test_the_panes_know_at_once_that_the_backend_is_gone() -> None:
    source = source_of(OUTCOMES[0])

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for connection in ("live", "gone"):
            source.connection = connection
            app.paint()
            for name in ("cpus", "beats", "watch", "scheduler"):
                pane = app.screen.query_one(f"#{name}", LinePane)
                strips = [pane.render_line(y) for y in range(pane.size.height)]
                found.setdefault(name, []).append(str([list(strip) for strip in strips]))
        return found

    for name, (before, after) in drive(source, steps)[1].items():
        assert before != after, name


def test_senders_of_a_step_that_ended_are_not_counted_as_more() -> None:
    source = source_of(OUTCOMES[0])
    state = source.state
    assert state.beats.tracked == 1
    source.feed([ev.BeatsEnded(domain="guest", seq=state.seq + 1, mono_ns=state.mono_ns)])
    assert state.beats.tracked == 0
