"""What the snapshot bridge keeps: captures by tag with what belongs to each, and a log of what became of
them.

Four maps run in parallel, all keyed by tag: the report, the scheduler's own statistics taken just before
it, the elapsed time and the step. Only the report is always there. ``order`` holds the tags from the oldest
insertion to the newest. The hard thing is to keep the five in step: a report must never be handed out with
the statistics of an earlier capture of the same tag, and nothing may outlive its report. Where they are
found out of step all the same, nothing is dropped in silence: an event names it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
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
    """A drain met a report whose tag was missing from the capture order; it was handed out last."""

    tag: str
    drain_variant: DrainVariant


class CapInvariantViolation(msgspec.Struct, frozen=True, tag_field="event", tag="cap"):
    """More reports than the cap and no order to evict by: everything was cleared."""

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
    """The maps and the log. Not locked: the bridge does that."""

    def __init__(self) -> None:
        self.reports: dict[str, CaptureReport] = {}
        self.stats: dict[str, Stats] = {}
        self.elapsed_ms: dict[str, int] = {}
        self.step_index: dict[str, int] = {}
        self.order: dict[str, None] = {}
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

    def store(
        self,
        tag: str,
        report: CaptureReport,
        stats: Stats | None,
        elapsed_ms: int | None,
        step_index: int | None,
    ) -> Iterator[BridgeEvent]:
        """Put a report under its tag, newest last, and evict down to the cap. Yields what happened."""
        prior = self.reports.pop(tag, None)
        if prior is not None:
            self._forget(tag)
            yield Overwrite(tag, prior.schema)
        self.reports[tag] = report
        self.order[tag] = None
        if stats is not None:
            self.stats[tag] = stats
        if elapsed_ms is not None:
            self.elapsed_ms[tag] = elapsed_ms
        if step_index is not None:
            self.step_index[tag] = step_index
        if prior is None:
            yield from self._evict(tag)

    def _evict(self, new_tag: str) -> Iterator[BridgeEvent]:
        while len(self.reports) > MAX_STORED_SNAPSHOTS:
            oldest = next(iter(self.order), None)
            if oldest is None:
                yield CapInvariantViolation(len(self.reports), MAX_STORED_SNAPSHOTS)
                self.clear()
                return
            known = self.reports.pop(oldest, None) is not None
            self._forget(oldest)
            if known:
                yield Eviction(oldest, new_tag, MAX_STORED_SNAPSHOTS)

    def _forget(self, tag: str) -> None:
        # Everything of a tag but its report.
        self.order.pop(tag, None)
        self.stats.pop(tag, None)
        self.elapsed_ms.pop(tag, None)
        self.step_index.pop(tag, None)

    def clear(self) -> None:
        """Drop all captures; the event log stays."""
        for part in (self.reports, self.stats, self.elapsed_ms, self.step_index, self.order):
            part.clear()

    def take_ordered(self, variant: DrainVariant) -> tuple[list[DrainedSnapshot], list[BridgeEvent]]:
        """Empty the maps, oldest insertion first; reports without order come last, each with an event."""
        strays = [tag for tag in self.reports if tag not in self.order]
        tags = [tag for tag in self.order if tag in self.reports] + strays
        entries = [self._entry(tag) for tag in tags]
        self.clear()
        return entries, [DrainOrderingInvariantViolation(tag, variant) for tag in strays]

    def _entry(self, tag: str) -> DrainedSnapshot:
        return DrainedSnapshot(
            tag=tag,
            report=self.reports[tag],
            stats=self.stats.get(tag, MissingStats("no scheduler binary")),
            elapsed_ms=self.elapsed_ms.get(tag),
            step_index=self.step_index.get(tag),
        )
