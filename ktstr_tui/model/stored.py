"""What is known of runs on disk: values only."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.model.facts import RunInfo

IDENTITY_FILE: Final = "seed.json"
"""What a run with a seed keeps in its directory, so that it can be had again."""

RunEnding: TypeAlias = Literal[
    "open", "ended", "ejected", "inconclusive", "failed", "killed", "no-recording", "unreadable"
]
"""How a run ended, in a word: by its exit code, or why that is not known. ``killed``: its recording has no end."""


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run's directory, by what needs no reading of its files."""

    id: str
    """Name of the directory; no two runs have the same."""
    name: str
    """Of the run; runs one after the other may have the same."""
    path: str
    begun_ns: int
    """Wall clock, nanoseconds since 1970; exact to the second."""
    disk_bytes: int
    recording_bytes: int | None
    """None when there is no recording in the directory."""
    kept: bool
    """Whether it is marked to stay."""
    seed: int | None
    """Of a run that can be had again; None for one that depended on the host's clock."""
    open: bool
    """Whether the run is in progress, or its recording is read at the moment."""


class StoredRunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a run say of it."""

    captures: int
    info: RunInfo | None = None
    duration_ms: float | None = None
    """From the first event to the last."""
    end_reason: str = ""
    exit_code: int | None = None
    damage: str = ""
    """What is wrong with the recording, in words; empty when nothing is."""
    unreadable: str = ""
    """Why the recording cannot be read."""


class RemovedRuns(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that were removed from a directory, counted from the first."""

    runs: int = 0
    disk_bytes: int = 0
    last: str = ""
    """Directory of the one that was removed last."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed to stay below a limit."""

    limit_bytes: int
    left_bytes: int
    """Disk that all runs take afterwards."""
    removed: tuple[StoredRun, ...]
    failed: dict[str, str]
    """Why runs could not be removed, by directory."""
    dry_run: bool
    """Whether nothing was removed, and this says what would be."""

    @property
    def removed_bytes(self) -> int:
        """Disk that is free again."""
        return sum(it.disk_bytes for it in self.removed)


class RecordingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds."""

    path: str
    run_id: str
    bytes: int
    chunks: int
    events: int
    kinds: dict[str, int]
    """Events by kind, the most frequent first."""
    duration_ms: float | None
    """From the first event to the last."""
    damage: str
    """What is wrong with it, in words; empty when it is whole."""
