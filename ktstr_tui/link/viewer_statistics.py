"""What a viewer counts."""

from __future__ import annotations

import msgspec


class ViewerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What came over the link."""

    received: int = 0
    """Messages on the events socket."""
    bytes: int = 0
    folded: int = 0
    duplicates: int = 0
    gaps: int = 0
    missing: int = 0
    healed: int = 0
    """Missing events that were fetched by range; the rest was covered by snapshots."""
    skipped: int = 0
    """Queued events thrown away unread because the viewer was too late."""
    snapshots: int = 0
    foreign: int = 0
    """Events of another run."""
    undecodable: int = 0
    lag_ms: float | None = None
    rtt_ms: float | None = None
    """Of the newest ping."""
    commands: int = 0
    timeouts: int = 0
    stray_replies: int = 0
