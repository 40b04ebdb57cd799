"""The command line of ``run`` becomes a config."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.cli.options import from_options
from ktstr_tui.cli.run_options import RunOptions
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.model.errors import UsageError


def read(*words: str, file: dict[str, object] | None = None) -> RunOptions:
    found: list[RunOptions] = []

    @from_options(RunOptions)
    def command(options: RunOptions) -> None:
        """Take it."""
        found.append(options)

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(words), catch_exceptions=False, default_map=file)
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
        *("--silent-ms", "750", "--capture-on-stall", "--headless", "--json"),
        *("--runs-limit", "3G", "--snapshots-limit", "500M", "--", "--slice", "5"),
    )
    assert options.headless
    assert options.as_json
    config = options.to_config()
    assert (config.scheduler, config.scheduler_args) == ("demo:fifo", ("--slice", "5"))
    assert (config.sample_hz, config.early_capture, config.accelerator) == (5.0, False, "tcg")
    assert (config.runs_limit_mib, config.snapshots_limit_mib) == (3 << 10, 500)
    assert config.record == str(Path("r.ktstr").absolute())
    assert (config.beats.threshold_ms, config.beats.capture_on_stall) == (750.0, True)


def test_cpus_are_a_topology_of_one_llc() -> None:
    assert read("--cpus", "6").to_config().topology == "1n1l6c1t"


def test_cpus_and_a_topology_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="--topology and --cpus exclude each other"):
        read("--cpus", "6", "--topology", "1n1l2c1t")


@pytest.mark.parametrize(
    ("words", "file", "expected"),
    [
        ((), {"cpus": 3}, "1n1l3c1t"),
        (("--topology", "1n2l2c1t"), {"cpus": 3}, "1n2l2c1t"),
        (("--cpus", "3"), {"topology": "1n2l2c1t"}, "1n1l3c1t"),
    ],
)
def test_the_command_line_overrules_what_the_file_says_of_either(
    words: tuple[str, ...], file: dict[str, object], expected: str
) -> None:
    assert read(*words, file=file).to_config().topology == expected


def test_a_seed_makes_a_run_deterministic() -> None:
    assert read("--seed", "42").to_config().determinism == Determinism(42, 4)
    assert read("--seed", "0", "--instruction-ns", "1").to_config().determinism == Determinism(0, 1)
    drawn = {read("--deterministic").to_config().determinism for _ in range(3)}
    assert len(drawn) == 3, "a seed is drawn each time"
    assert read("--no-seed", file={"deterministic": True}).to_config().determinism is None


def test_a_seed_is_left_open_unless_something_is_said_of_it() -> None:
    assert read().to_config().draws_seed
    left_out: list[tuple[tuple[str, ...], dict[str, object] | None]] = [
        (("--no-seed",), None),
        (("--no-seed",), {"seed": 42}),
        ((), {"deterministic": False}),
    ]
    for words, file in left_out:
        config = read(*words, file=file).to_config()
        assert (config.draws_seed, config.determinism) == (False, None)
    assert read("--seed", "42", file={"deterministic": False}).to_config().determinism == Determinism(42)
    assert (
        read("--deterministic", file={"deterministic": False, "topology": "1n1l8c1t"}).to_config().determinism
    )
    for word in ("--no-seed", "--deterministic"):
        with pytest.raises(
            UsageError, match=r"--seed and --deterministic \(or --no-seed\) exclude each other"
        ):
            read("--seed", "42", word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seed", "1", "--accel", "kvm"), "a run with a seed is emulated"),
        (("--deterministic", "--accel", "kvm"), "a run with a seed is emulated"),
        (("--seed", "1", "--instruction-ns", "3"), "not a power of two"),
        (("--instruction-ns", "8"), "--instruction-ns needs a run with a seed"),
    ],
)
def test_what_no_run_with_a_seed_can_be(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read(*words).to_config()
