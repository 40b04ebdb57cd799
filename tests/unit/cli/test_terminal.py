"""Where the screen can be shown: a terminal that can show one, of the size that it says itself."""

from __future__ import annotations

import io
import os

import pytest

from ktstr_tui.cli.screen import INSTEAD, require_terminal
from ktstr_tui.model.errors import UsageError


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", Tty())
    monkeypatch.setenv("TERM", term)


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_all_three_streams_are_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch, "xterm")
    monkeypatch.setattr(f"sys.{name}", io.StringIO())
    with pytest.raises(UsageError, match="needs a terminal"):
        require_terminal("run")


@pytest.mark.parametrize("term", ["dumb", "DUMB", "unknown"])
@pytest.mark.parametrize("command", INSTEAD)
def test_a_terminal_that_can_only_print_is_refused(
    term: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch, term)
    with pytest.raises(UsageError, match=f"TERM={term}") as refused:
        require_terminal(command)
    assert INSTEAD[command] in refused.value.hint


@pytest.mark.parametrize("term", ["xterm-256color", "linux", ""])
def test_the_terminal_itself_is_asked_for_its_size(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch, term)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "50")
    require_terminal("attach")
    assert not {"COLUMNS", "LINES"} & set(os.environ)
