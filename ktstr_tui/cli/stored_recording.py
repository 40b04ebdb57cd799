"""The recording of a run that is over: the words that people use for it, and how a shell completes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.guest.paths import state_dir
from ktstr_tui.model.errors import UsageError


def complete_run(incomplete: str) -> list[str]:
    """The names and directories of runs on disk that begin like this; a shell goes on to files when there are none."""
    from ktstr_tui.link.stored_runs import StoredRuns

    runs = StoredRuns(state_dir() / "runs").all()
    words = dict.fromkeys([*(it.name for it in runs), *(it.id for it in runs)])
    return [it for it in words if it.startswith(incomplete)]


Recording = Annotated[
    str,
    typer.Argument(
        help="A recording, a run's directory, or the name of a run on disk.", autocompletion=complete_run
    ),
]


def recording_of(word: str) -> Path:
    """The recording that a word means; of several runs with one name, the newest that has one.

    Args:
        word: A recording, the directory of a run, or the name of a run on disk.

    Raises:
        UsageError: There is none.
    """
    from ktstr_tui.link.runs import RECORDING_FILE
    from ktstr_tui.link.stored_runs import StoredRuns

    path = Path(word)
    if path.is_file():
        return path
    if (path / RECORDING_FILE).is_file():
        return path / RECORDING_FILE
    found = StoredRuns(state_dir() / "runs").find(word)
    recorded = [it for it in found if it.recording_bytes is not None]
    if not recorded:
        raise UsageError(
            f"there is no recording in {found[-1].path}",
            "its run was killed before it began, or recorded elsewhere (run --record): name that file",
        )
    return Path(recorded[-1].path) / RECORDING_FILE
