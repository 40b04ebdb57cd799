"""What `ktstr-tui run --headless` prints of the alerts of a run that is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ktstr_tui.backend.summary import summarize
from ktstr_tui.cli.run import MAX_ALERTS, _print_summary
from ktstr_tui.model import events as ev
from ktstr_tui.model.events import Severity
from ktstr_tui.model.fold import fold
from ktstr_tui.model.kinds import AlertKind
from ktstr_tui.model.state import MAX_ALERTS_TOLD, RunState
from ktstr_tui.model.stored import IDENTITY_FILE


def raised(
    text: str, severity: Severity = "warning", key: str = "age", kind: AlertKind = "runnable-age"
) -> ev.Event:
    return ev.AlertRaised(key=key, kind=kind, severity=severity, text=text)


def after(*events: ev.Event) -> RunState:
    state = RunState()
    for event in events:
        fold(state, event)
    return state


INFO = ev.RunInfo(
    name="mine", run_id="x", kernel="7.2", kernel_path="k", accelerator="tcg", accelerator_reason="",
    topology="1n1l1c1t", memory_bytes=1, scenario="tour", scheduler="fifo", seed=7, data_dir="/there",
)  # fmt: skip


@pytest.mark.parametrize(
    ("end", "upto"),
    [
        ({"reason": "scenario finished", "exit_code": 0}, ""),
        ({"reason": "ended by SIGTERM", "exit_code": 0, "early": True}, " up to this end at 2.500 s"),
        ({"reason": "QEMU was killed", "exit_code": 4, "fault": "host"}, " up to this end at 2.500 s"),
    ],
)
def test_a_run_that_was_cut_short_promises_no_more_than_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, end: dict[str, Any], upto: str
) -> None:
    info = msgspec.structs.replace(INFO, data_dir=str(tmp_path))
    state = after(
        ev.RunStarted(info=info, mono_ns=1_000_000_000),
        ev.BackendBeat(samples_missed=0, frozen_total_ms=500.0, viewers=0),
        ev.RunEnded(**end, mono_ns=4_000_000_000),
    )
    _print_summary(state)
    assert "seed" not in capsys.readouterr().out, "of a run that was refused nothing was kept"
    (tmp_path / IDENTITY_FILE).touch()
    _print_summary(state)
    again = f"seed      7; again, the same to the byte{upto}: ktstr-tui rerun {tmp_path}\n"
    assert again in capsys.readouterr().out
    assert summarize(state)["ended_early"] == end.get("early", False)


def test_what_a_comparison_came_to_is_told_as_far_as_it_went(capsys: pytest.CaptureFixture[str]) -> None:
    state = after(ev.RunCompared(run="a-1", kept=2, run_kept=9, identical=2, until_ms=400.0))
    _print_summary(state)
    words = "identical to a-1 as far as this run went: 2 checkpoints of 9, up to 0.400 s"
    assert f"compared  {words}\n" in capsys.readouterr().out
    told = {"run": "a-1", "kept": 2, "run_kept": 9, "identical": 2, "until_ms": 400.0, "left": ""}
    assert summarize(state)["compared"] == told
    assert summarize(RunState())["compared"] is None


CLEARED = ev.AlertCleared(key="age", kind="runnable-age")


def test_a_sickness_that_is_over_is_told_with_the_worst_that_it_was() -> None:
    state = after(
        raised("1.1 s of 2.0 s"), raised("1.9 s of 2.0 s", "error"), raised("1.2 s of 2.0 s"), CLEARED
    )
    (alert,) = summarize(state)["alerts"]
    assert alert == {"key": "age", "severity": "error", "text": "1.9 s of 2.0 s", "count": 1}
    again = after(raised("1.1 s of 2.0 s"), CLEARED, raised("1.3 s of 2.0 s"), CLEARED)
    (alert,) = summarize(again)["alerts"]
    assert (alert["text"], alert["count"]) == ("1.3 s of 2.0 s", 2)


def test_errors_are_printed_first_and_ejections_are_left_to_their_captures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = after(
        raised("imbalance 9.0", key="imbalance", kind="imbalance"),
        raised("stall ejected", "error", key="ejected", kind="ejected"),
        raised("cpu 0 stands", "error", key="stall-cpu-0", kind="stall"),
        ev.AlertCleared(key="stall-cpu-0", kind="stall"),
        raised("cpu 0 stands", "error", key="stall-cpu-0", kind="stall"),
    )
    _print_summary(state)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alert")]
    assert lines == ["alert     cpu 0 stands (raised 2 times)", "alert     imbalance 9.0"]


def test_what_is_not_printed_or_not_kept_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    more = 3
    state = after(*(raised(f"text {k}", key=f"key-{k}") for k in range(MAX_ALERTS_TOLD + more)))
    assert len(summarize(state)["alerts"]) == MAX_ALERTS_TOLD
    assert state.forgotten["alerts_told"] == more
    _print_summary(state)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alert")]
    assert len(lines) == MAX_ALERTS + 1
    assert lines[-1] == f"alert     {MAX_ALERTS_TOLD - MAX_ALERTS} other alerts; --json prints all"


def test_a_run_had_again_up_to_a_snapshot_names_it_too() -> None:
    state = RunState()
    fold(state, ev.RunStarted(info=msgspec.structs.replace(INFO, restored_from="tour/kept"), seq=1))
    assert summarize(state)["restored_from"] == "tour/kept"


def test_a_restored_guest_names_its_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    state = RunState(boot_ms=120.0)
    assert summarize(state)["restored_from"] is None
    told = ev.GuestRestored(snapshot="tour/kept", phase="running", pages=1, pages_left=0, took_ms=1.0)
    fold(state, msgspec.structs.replace(told, seq=1))
    assert summarize(state)["restored_from"] == "tour/kept"
    _print_summary(state)
    assert "boot 120 ms from snapshot tour/kept" in capsys.readouterr().out
