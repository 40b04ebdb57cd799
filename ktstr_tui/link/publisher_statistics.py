"""What a publisher counts."""

from __future__ import annotations

import msgspec


class PublisherStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the publisher did."""

    viewers: int
    """Viewers connected now."""
    sent: int
    """Events handed to ZeroMQ."""
    sent_bytes: int
    requests: int
    snapshots: int
    ranges: int
    refused: dict[str, int]
    """Messages that could not be sent, by reason: ``event: full``, ``reply: gone``, ``reply: full``, …"""
    bad_requests: dict[str, int]
    """Requests that were refused as malformed, by reason."""
    failed_commands: int
    lag_ms: int | None
    """Of the slowest viewer, as it says itself; None when none says."""
    reported_missing: int
    """Events that viewers said they had missed and had to fetch again."""
