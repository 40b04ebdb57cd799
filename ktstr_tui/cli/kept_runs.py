"""Finds runs that have ended, by the words that people use for them."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.backend.bundle import unbundle
from ktstr_tui.guest.paths import state_dir
from ktstr_tui.link.recfile import read_recording
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.stored import IDENTITY_FILE


def find_kept(word: str) -> Path:
    """The directory of a run with a seed that has ended.

    Args:
        word: Its directory, its recording, a bundle, or its name, of which the newest run is taken.

    Raises:
        UsageError: There is none.
    """
    path = Path(word)
    if path.is_dir():
        return path.absolute()
    if path.is_file():
        return path.absolute().parent if path.name == RECORDING_FILE else unbundle(path)
    runs = state_dir() / "runs"
    named = [
        it
        for it in (runs.iterdir() if runs.is_dir() else ())
        if (it.name.rpartition("-")[0].rpartition("-")[0] == word or it.name == word)
        and any((it / name).is_file() for name in (IDENTITY_FILE, RECORDING_FILE))
    ]
    seeded = sorted(
        (it for it in named if (it / IDENTITY_FILE).is_file()), key=lambda it: it.stat().st_mtime_ns
    )
    if seeded:
        return seeded[-1]
    if named:
        raise UsageError(
            f"run {word} had no seed, so it cannot be repeated",
            "start it with run --seed N or --deterministic",
        )
    raise UsageError(f"there is no run {word}", f"runs that have ended are in {runs}; a bundle is a file")


def events_of(directory: Path) -> list[Event]:
    """The events of a run's recording.

    Raises:
        UsageError: There is no recording.
    """
    return list(read_recording(directory / RECORDING_FILE))
