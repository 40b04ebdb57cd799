"""The command line of ``run`` becomes a request."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from ktstr_tui.cli.run_options import RunOptions, from_options
from ktstr_tui.heartbeat.config import BeatsConfig


def read(*words: str) -> RunOptions:
    found: list[RunOptions] = []

    @from_options(RunOptions)
    def command(options: RunOptions) -> None:
        """Take it."""
        found.append(options)

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


def test_no_word_means_the_defaults() -> None:
    options = read()
    assert options == RunOptions()
    assert options.beats() == BeatsConfig()
    assert options.request().scheduler_args == ()


def test_words_reach_the_request() -> None:
    options = read(
        *("-s", "demo:fifo", "--hz", "5", "--no-early-capture", "--accel", "tcg", "--record", "r.ktstr"),
        *("--silent-ms", "750", "--capture-on-stall", "--headless", "--json", "--", "--slice", "5"),
    )
    assert options.headless
    assert options.as_json
    request = options.request()
    assert (request.scheduler, request.scheduler_args) == ("demo:fifo", ("--slice", "5"))
    assert (request.sample_hz, request.early_capture, request.accelerator) == (5.0, False, "tcg")
    assert request.record == str(Path("r.ktstr").absolute())
    assert (request.beats.threshold_ms, request.beats.capture_on_stall) == (750.0, True)
