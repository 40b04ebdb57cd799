"""What the snapshot bridge keeps: captures by tag with what belongs to each, and a log of what became of them.

One dictionary from tag to capture, the oldest insertion first; so a report can never be handed out with the
statistics of an earlier capture of the same tag, and nothing outlives its report. The seed of this contract keeps
parallel maps, and two of its events say that those are out of step (`DrainOrderingInvariantViolation`,
`CapInvariantViolation`). That cannot happen here; the two types stay because recordings and other programs know them.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal, TypeAlias

import msgspec

from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.report import CaptureReport

MAX_STORED_SNAPSHOTS = 64
"""Captures kept by the bridge; the oldest goes first."""
MAX_STORED_EVENTS = 1024
"""Bridge events kept between two drains; the oldest goes first and is counted."""

DrainVariant: TypeAlias = Literal["drain_ordered", "drain_ordered_with_stats"]


class CaptureUnavailable(msgspec.Struct, frozen=True, tag_field="event", tag="capture-unavailable"):
    """The capture callback had no report to give."""

    tag: str


class Overwrite(msgspec.Struct, frozen=True, tag_field="event", tag="overwrite"):
    """A tag was stored twice; the earlier report is gone."""

    tag: str
    prior_schema: str


class Eviction(msgspec.Struct, frozen=True, tag_field="event", tag="eviction"):
    """The oldest capture was dropped for a new one."""

    evicted_tag: str
    new_tag: str
    cap: int


class DrainOrderingInvariantViolation(msgspec.Struct, frozen=True, tag_field="event", tag="drain-ordering"):
    """A drain met a report whose tag was missing from the capture order.

    The report was handed out last. Kept for readers, never made here.
    """

    tag: str
    drain_variant: DrainVariant


class CapInvariantViolation(msgspec.Struct, frozen=True, tag_field="event", tag="cap"):
    """More reports than the cap and no order to evict by: all cleared. Kept for readers, never made here."""

    reports_len: int
    cap: int


class EventLogTruncated(msgspec.Struct, frozen=True, tag_field="event", tag="log-truncated"):
    """So many of the oldest events were lost since the last drain. Made by the drain itself."""

    dropped_count: int


BridgeEvent: TypeAlias = (
    CaptureUnavailable
    | Overwrite
    | Eviction
    | DrainOrderingInvariantViolation
    | CapInvariantViolation
    | EventLogTruncated
)


Stats: TypeAlias = Any | MissingStats
"""The scheduler's statistics as JSON values, or why they are missing."""


class DrainedSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One capture with everything that belongs to it."""

    tag: str
    report: CaptureReport
    stats: Stats
    elapsed_ms: int | None = None
    step_index: int | None = None
    """0 is the baseline, 1 to N are the steps."""


class Snapshots:
    """The captures and the log."""

    def __init__(self) -> None:
        self.kept: dict[str, DrainedSnapshot] = {}
        """Captures by tag, the oldest insertion first."""
        self.events: deque[BridgeEvent] = deque()
        self.events_dropped = 0

    def push_event(self, event: BridgeEvent) -> None:
        """Append to the log, at the cost of its oldest entry when it is full."""
        if len(self.events) >= MAX_STORED_EVENTS:
            self.events.popleft()
            self.events_dropped += 1
        self.events.append(event)

    def take_events(self) -> list[BridgeEvent]:
        """Empty the log; what it lost since the last time follows as one `EventLogTruncated`."""
        events = list(self.events)
        self.events.clear()
        if self.events_dropped:
            events.append(EventLogTruncated(self.events_dropped))
            self.events_dropped = 0
        return events

    def store(self, snapshot: DrainedSnapshot) -> BridgeEvent | None:
        """Keep a capture under its tag, newest last, and evict down to the cap; returns what that cost."""
        tag = snapshot.tag
        prior = self.kept.pop(tag, None)
        self.kept[tag] = snapshot
        if prior is not None:
            return Overwrite(tag, prior.report.schema)
        if len(self.kept) > MAX_STORED_SNAPSHOTS:
            oldest = next(iter(self.kept))
            del self.kept[oldest]
            return Eviction(oldest, tag, MAX_STORED_SNAPSHOTS)
        return None

    def take(self) -> list[DrainedSnapshot]:
        """Return all captures, the oldest insertion first, and keep none; the event log stays."""
        kept, self.kept = list(self.kept.values()), {}
        return kept
