"""Instants of an earlier run, found in its recording, as times of the run's own clock without what a person froze."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import msgspec

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import (
    AlertCleared,
    AlertRaised,
    BootMaking,
    CaptureTaken,
    Event,
    Frozen,
    GuestRestarted,
    Logged,
    OutputText,
    ProbeRead,
    RunCompared,
    SchedulerChanged,
    Thawed,
    WatchpointHit,
)

OF_THE_HOST: Final = {
    *("run_id", "run_epoch_id", "name", "data_dir", "started_wall", "last_boot_ms", "state_crc"),
    *("accelerator_reason", "host"),
    *("path", "index_path", "early_path", "late_path", "hint"),
    *("seq", "folded_seq", "boot_ms", "typed_ms", "read_us", "wall_time", "pause"),
    # Of the senders on the host, who are looked at by its clock.
    *("ktstr_beats_unobserved_milliseconds_total", "varta_observer_iteration_budget_exceeded_total"),
}
"""Fields of events that are the host's, or number what is."""
Meant: TypeAlias = Callable[[Event], bool]


def instant_of(events: Iterable[Event], meant: Meant, what: str) -> int:
    """When the first event that is meant happened, in nanoseconds of the run's clock.

    Args:
        events: Of the earlier run, oldest first.
        meant: Whether an event is the one.
        what: What is looked for, for the message.

    Raises:
        UsageError: There is none, or it is of a later boot of the run, which a rerun does not have.
    """
    stood_ns, since_ns, boots = 0, None, 1
    for event in events:
        if isinstance(event, GuestRestarted):
            boots = event.boot
        elif isinstance(event, Frozen):
            since_ns = event.mono_ns
        elif isinstance(event, Thawed) and since_ns is not None:
            stood_ns, since_ns = stood_ns + event.mono_ns - since_ns, None
        if meant(event):
            if boots > 1:
                raise UsageError(
                    f"the {what} was in boot {boots} of the run, and a rerun has the first one",
                    "start another run with the same --seed and what was booted then",
                )
            at_ns = event.report.mono_ns if isinstance(event, CaptureTaken) else event.mono_ns
            return (at_ns if since_ns is None else min(at_ns, since_ns)) - stood_ns
    raise UsageError(f"the run had no {what}", "see what it had: ktstr-tui events RECORDING")


def without_freezes(events: Iterable[Event], at_ns: int) -> int:
    """A time of the run's clock without what a person froze before it.

    Args:
        events: Of the run, oldest first; what comes later does not matter.
        at_ns: On the run's clock, which goes on while the guest is frozen.
    """
    stood_ns, since_ns = 0, None
    for event in events:
        if event.mono_ns > at_ns and not isinstance(event, Thawed):
            continue
        if isinstance(event, Frozen):
            since_ns = event.mono_ns
        elif isinstance(event, Thawed) and since_ns is not None:
            stood_ns, since_ns = stood_ns + max(0, min(event.mono_ns, at_ns) - since_ns), None
    return (at_ns if since_ns is None else min(at_ns, since_ns)) - stood_ns


def of_ejection(event: Event) -> bool:
    """Whether a scheduler was ejected."""
    return isinstance(event, SchedulerChanged) and event.change == "ejected"


def of_capture(tag: str) -> Meant:
    """The capture of a tag."""
    return lambda event: isinstance(event, CaptureTaken) and event.report.tag == tag


def of_event(seq: int) -> Meant:
    """The event of a number."""
    return lambda event: event.seq == seq


def of_watch_hit(number: int) -> Meant:
    """The hit of a watch, counted from 1; those of slot 0 are the program's own."""
    seen = 0

    def meant(event: Event) -> bool:
        nonlocal seen
        seen += isinstance(event, WatchpointHit) and event.slot != 0
        return isinstance(event, WatchpointHit) and event.slot != 0 and seen == number

    return meant


def of_the_guest(event: Event) -> dict[str, Any] | None:
    """An event without what is the host's in it; None when nothing is left: a reading of the host, a comparison."""
    if isinstance(event, ProbeRead | RunCompared | BootMaking):
        return None
    if isinstance(event, Logged) and event.source == "seed":
        return None
    if isinstance(event, AlertRaised | AlertCleared) and event.kind == "host":
        return None
    if isinstance(event, OutputText) and event.stream == "boot":
        return None  # of the machine that makes the saved boot, where there was none
    stripped: dict[str, Any] = _stripped(msgspec.to_builtins(event))
    return stripped


def _stripped(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {name: _stripped(it) for name, it in value.items() if name not in OF_THE_HOST}
    return [_stripped(it) for it in value] if isinstance(value, list | tuple) else value


def difference(one: Iterable[Any], other: Iterable[Any]) -> tuple[int, Any, Any] | None:
    """The first place at which two sequences differ: number from 0, and both sides; None stands for an end."""
    left, right, number = iter(one), iter(other), 0
    while True:
        mine, theirs = next(left, None), next(right, None)
        if mine != theirs:
            return number, mine, theirs
        if mine is None:
            return None
        number += 1
