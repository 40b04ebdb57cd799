"""The bench of the screen measures what it says; its terminal, with a program that answers keys at once."""

from __future__ import annotations

import json
import os
import sys

import pytest

from ktstr_tui.bench import tui
from ktstr_tui.bench.terminal import Terminal
from ktstr_tui.cli.bench import bench_command
from ktstr_tui.model.errors import InternalError, UsageError

ECHO = """
import os, termios, tty
tty.setraw(0)
columns = os.get_terminal_size(1).columns
os.write(1, b"\\x1b[1mwi\\x1b[0mde \\x1b]0;title\\x07%d" % columns)
while (key := os.read(0, 1)) != b"q":
    os.write(1, b"\\x1b[2J\\x1b[")
    os.write(1, b"3;4Hgot \\x1b[31m" + key + b"\\x1b[0m")
"""


def terminal() -> Terminal:
    return Terminal([sys.executable, "-c", ECHO], (91, 20), os.environ)


def test_words_are_found_between_the_sequences_that_paint_them() -> None:
    with terminal() as found:
        assert found.wait_for("wide 91") > 0
        assert found.press("a", "got a") > 0
        assert found.press("b", "got b") > 0
        assert b"got a" not in found.text, "each key has its own paint"
        assert found.cpu_s() >= 0
        assert found.resident_bytes() > 0


def test_a_program_that_ends_is_told_with_what_it_painted_last() -> None:
    with terminal() as found:
        found.wait_for("wide 91")
        with pytest.raises(InternalError, match="does not paint never"):
            found.press("q", "never")


def test_the_screen_stands_beside_an_empty_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tui, "KEY_EVERY_S", 0.01)
    monkeypatch.setattr(tui, "SETTLE_S", 0.01)
    # The screen has the size of its own terminal, whatever that of whoever starts the bench is said to have.
    monkeypatch.setenv("COLUMNS", "80")
    result = tui.bench_tui(1.0)
    assert json.loads(json.dumps(result)) == result
    assert result["keys"] > 0
    assert result["first_paint_ms"] > 0 < result["floor"]["first_paint_ms"]
    assert result["key_ratio"] == result["key_ms"]["p50"] / result["floor"]["key_ms"]["p50"]
    assert result["cpu_share"] > 0
    assert result["key_met"] == (result["key_ms"]["p99"] <= tui.GOAL_KEY_MS)


@pytest.mark.parametrize(
    ("what", "rounds", "seconds"), [("tui", 2, None), ("link", None, 3.0), ("none", None, None)]
)
def test_a_bench_takes_rounds_or_seconds(what: str, rounds: int | None, seconds: float | None) -> None:
    with pytest.raises(UsageError):
        bench_command(what, rounds, seconds, as_json=True)
