"""The command line of ``run`` becomes a config."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner

from ktstr_tui.backend.config import RunConfig
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
    assert options.to_config() == RunConfig(), "the defaults of both are the same"


def test_words_reach_the_config() -> None:
    options = read(
        *("-s", "demo:fifo", "--hz", "5", "--no-early-capture", "--accel", "tcg", "--record", "r.ktstr"),
        *("--silent-ms", "750", "--capture-on-stall", "--headless", "--json", "--", "--slice", "5"),
    )
    assert options.headless
    assert options.as_json
    config = options.to_config()
    assert (config.scheduler, config.scheduler_args) == ("demo:fifo", ("--slice", "5"))
    assert (config.sample_hz, config.early_capture, config.accelerator) == (5.0, False, "tcg")
    assert config.record == str(Path("r.ktstr").absolute())
    assert (config.beats.threshold_ms, config.beats.capture_on_stall) == (750.0, True)
