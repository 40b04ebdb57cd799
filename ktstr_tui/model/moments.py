"""What happened in a run that somebody may want to go to: alerts, captures, watch hits, schedulers, steps."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.model.events import (
    AlertRaised,
    CaptureTaken,
    Event,
    Frozen,
    SchedulerChanged,
    StepStarted,
    Thawed,
    WatchpointHit,
)

MomentKind: TypeAlias = Literal["alert", "capture", "hit", "scheduler", "step", "frozen", "thawed"]
MAX_MOMENTS: Final = 512
_ABOUT_SCHEDULERS: Final = ("attached", "ejected", "detached")


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened at one instant."""

    seq: int
    """Of the event that marks it."""
    mono_ns: int
    kind: MomentKind
    text: str


_MARKING = frozenset(
    (AlertRaised, CaptureTaken, Frozen, SchedulerChanged, StepStarted, Thawed, WatchpointHit)
)
"""Most events are none of these, and are told so at once."""


def moment_of(event: Event) -> Moment | None:
    """Return the moment that an event marks; None for most. An alert marks one at each of its events."""
    if type(event) not in _MARKING:
        return None
    match event:
        case AlertRaised():
            return Moment(event.seq, event.mono_ns, "alert", event.text)
        case CaptureTaken():
            return Moment(event.seq, event.report.mono_ns or event.mono_ns, "capture", event.report.tag)
        case WatchpointHit():
            return Moment(event.seq, event.mono_ns, "hit", f"slot {event.slot}")
        case SchedulerChanged() if event.change in _ABOUT_SCHEDULERS:
            return Moment(
                event.seq, event.mono_ns, "scheduler", f"{event.name or 'scheduler'} {event.change}"
            )
        case StepStarted():
            return Moment(event.seq, event.mono_ns, "step", f"step {event.index} {event.name}")
        case Frozen():
            return Moment(event.seq, event.mono_ns, "frozen", event.reason)
        case Thawed():
            return Moment(event.seq, event.mono_ns, "thawed", event.reason)
    return None
