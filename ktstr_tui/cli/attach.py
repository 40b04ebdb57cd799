"""Which run is meant: by name, by the path of its (forwarded) sockets, or by choosing from a list."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ktstr_tui.model.errors import UsageError
from ktstr_tui.text.output import ask, say

if TYPE_CHECKING:
    from ktstr_tui.wire.operator_keys import OperatorKey

KEY_VARIABLE = "KTSTR_OPERATOR"
"""Environment variable: the file of the key that commands are signed with."""


def own_key() -> OperatorKey | None:
    """The key of whoever runs this program; None when no file is named.

    Raises:
        UsageError: The file is no key, or others can read it.
    """
    named = os.environ.get(KEY_VARIABLE, "")
    if not named:
        return None
    from ktstr_tui.wire.operator_keys import read_operator_key

    return read_operator_key(Path(named))


def find_run(run_name: str | None) -> Path:
    """The directory (or one socket) of the run that is meant.

    Raises:
        UsageError: There is no such run, or several and none was named.
    """
    from ktstr_tui.guest.paths import runtime_dir
    from ktstr_tui.link.runs import choose_run

    return choose_run(run_name, runtime_dir())


def pick_run(run_name: str | None) -> Path:
    """As `find_run`, but lets a person at a terminal choose when there are several.

    Raises:
        UsageError: There is no such run, or nobody to ask, or no choice was made.
    """
    from ktstr_tui.guest.paths import runtime_dir
    from ktstr_tui.link.runs import list_runs

    if run_name is None and sys.stdin.isatty() and sys.stderr.isatty():
        alive = [run for run in list_runs(runtime_dir()) if run.alive]
        if len(alive) > 1:
            return alive[_choice([run.describe() for run in alive])].socket_dir
    return find_run(run_name)


def _choice(lines: list[str]) -> int:
    for number, line in enumerate(lines, 1):
        say(f"{number:3}  {line}")
    answer = ask("which run? ")
    if not answer.isdecimal() or not 1 <= int(answer) <= len(lines):
        raise UsageError(f"{answer!r} is not one of the numbers above", "name the run: ktstr-tui attach RUN")
    return int(answer) - 1
