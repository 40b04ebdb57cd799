"""Events of snapshots: that one is on disk, or why it is not."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.model.event_base import RunEvent

RestorePhase: TypeAlias = Literal[
    "filling", "filled", "loaded", "typed", "frozen", "running", "loading", "resident"
]
"""The snapshot is open and memory is being filled; is filled; QEMU has loaded the machine's state; memory is readable
by type, too; the guest stays frozen, or runs. Memory that is loaded when it is touched is not filled first: it is
loading while the guest runs, then resident.
"""


class SnapshotAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the guest's memory in a capture."""

    name: str = ""
    """Of the snapshot; empty when there is none."""
    problem: str = ""
    """Why there is none."""
    new_bytes: int = 0
    """Disk that it takes beside the snapshots before it."""
    evicted: tuple[str, ...] = ()
    """Snapshots that had to go, because all together were larger than the limit."""


class SnapshotStored(RunEvent, frozen=True, tag="snapshot-stored"):
    """The guest's memory at a capture is on disk, or why it is not."""

    tag: str
    """Of the capture that was taken at the same stop."""
    name: str = ""
    """Of the snapshot; empty when there is none."""
    path: str = ""
    """Its file on the backend's host."""
    problem: str = ""
    """Why there is none, or what else went wrong."""
    pages: int = 0
    """Of the guest that are not all zeros."""
    new_pages: int = 0
    """Of these, how many no snapshot of the run had held before."""
    new_bytes: int = 0
    """Disk that they take."""
    took_ms: float = 0.0
    """To write them, while the guest ran."""
    evicted: tuple[str, ...] = ()
    """Snapshots that had to go, because all together were larger than the limit."""


class GuestRestored(RunEvent, frozen=True, tag="guest-restored"):
    """How far a guest that starts from a snapshot has come."""

    snapshot: str
    """``RUN/NAME``."""
    phase: RestorePhase
    pages: int = 0
    """Of memory that are filled."""
    pages_left: int = 0
    """That are still to be filled."""
    took_ms: float = 0.0
    """Since the restore began."""
