"""What viewers get back for requests that were carried out; the requests are in `ktstr_tui.model.commands`."""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.scheduler_swap import ReplaceOutcome
from ktstr_tui.model.snapshot_events import SnapshotAnswer


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `Capture`; the report itself comes as an event."""

    tag: str
    path: str
    """The JSON file on the backend's host; empty when it was not saved."""
    unsaved: str = ""
    """Why it was not saved."""
    tasks: int
    """Runnable tasks in it."""
    lacks: str = ""
    """What its lists of tasks and queues lack; empty when they are whole."""
    pause_us: float | None
    """How long the guest was stopped; None when that is not known."""
    step: str | None
    elapsed_ms: float | None
    snapshot: SnapshotAnswer | None = None
    """What became of the memory, where it was to be kept."""


class Changed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a request that changes something, unless it is that way already."""

    changed: bool
    watch: dict[str, Any] = {}
    """The watch it is about; empty when there is none (any more)."""


class WatchAdded(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `AddWatch`."""

    slot: int
    watch: dict[str, Any]
    """The slot's `WatchpointState`; empty when it is gone already."""


class WatchList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `ListWatches`."""

    watches: list[dict[str, Any]]
    """The slots' `WatchpointState`, in order."""


class SchedulerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `AttachScheduler`, `DetachScheduler` and `ReplaceScheduler`."""

    outcome: ReplaceOutcome


class RangeSent(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GetRange`; the events follow it as frames."""

    oldest: int
    """Number of the oldest event that is kept."""


class DebuggerOpened(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `AttachDebugger`: a socket that takes a debugger within a minute."""

    where: str
    """A path on the backend's host, or ``127.0.0.1:PORT``."""
    symbols: bool = False
    """Whether the debugger is offered the kernel's symbols; not before its memory can be read by type."""
