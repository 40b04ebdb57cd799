"""Comparing two sides over seeds: what is looked up before anything runs, and how a run's own error is told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ktstr_tui.backend.measured import Measured
from ktstr_tui.cli import compare_seeds
from ktstr_tui.cli.cells import run_words
from ktstr_tui.cli.compare_seeds import compare_seeds_command
from ktstr_tui.guest import kernels
from ktstr_tui.model.errors import UsageError


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Words of the runs, which are made up."""
    ran: list[Sequence[str]] = []

    def run(name: str, seed: int, words: Sequence[str]) -> dict[str, object]:
        ran.append((name, *words))
        return {"data_dir": "somewhere"}

    figures = Measured(work_per_s={"spin-0": 9.0}, ejections=0, worst_wait_ms=None, switches_per_s=None)
    monkeypatch.setattr(compare_seeds, "run_words", run)
    monkeypatch.setattr(compare_seeds, "events_of", lambda _: ())
    monkeypatch.setattr(compare_seeds, "measure", lambda _: figures)
    return ran


@pytest.mark.parametrize(
    ("by", "sides", "said"),
    [
        ("scheduler", ("demo:fifo", "demo:fofi"), "there is no demo:fofi"),
        ("kernel", (__file__, "9.9"), "9.9"),
        ("colour", ("a", "b"), "--by colour cannot be compared"),
    ],
)
def test_what_is_not_there_is_told_before_anything_runs(
    by: str, sides: tuple[str, str], said: str, ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kernels.resolve_kernel
    monkeypatch.setattr(
        compare_seeds, "resolve_kernel", lambda side: None if side == __file__ else real(side)
    )
    with pytest.raises(UsageError, match=said):
        compare_seeds_command(sides, range(1, 3), (), by=by, jobs=1, as_json=False)
    assert ran == []


def test_each_side_runs_with_each_seed(
    ran: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_seeds, "resolve_kernel", lambda _: None)
    words = ["--scenario", "steady"]
    compare_seeds_command(("7.2", "6.19"), range(1, 3), words, by="kernel", jobs=1, as_json=False)
    assert ran == [
        (f"compare-{letter}-{seed}", "--kernel", side, *words)
        for seed in (1, 2)
        for letter, side in (("a", "7.2"), ("b", "6.19"))
    ]
    printed = capsys.readouterr().out
    assert "B  kernel 6.19" in printed
    assert "time is instructions, not your hardware's" in printed


def test_the_error_of_a_run_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 'error (usage): no such thing' >&2\necho 'next: look' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(UsageError, match=r"\Ano such thing\Z"):
        run_words("name", 1, [])
