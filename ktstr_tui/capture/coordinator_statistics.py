"""Counters of the freeze coordinator."""

from __future__ import annotations

import msgspec

from ktstr_tui.capture.finisher import FinisherStatistics


class CoordinatorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the coordinator since its start."""

    stops: int
    """Times the guest was stopped, for whatever reason."""
    hits: int
    """Watchpoint stops."""
    repeat_hits: int
    """Writes to ``exit_kind`` after the one that was captured."""
    none_hits: int
    """Writes that changed nothing, such as a failing cmpxchg."""
    late_finds: int
    """Changes that were found by polling and not by a hit."""
    unexpected_stops: int
    """Stops that no caller was waiting for any more."""
    watch_pauses: int
    captures: int
    timeouts: int
    refused: int
    """Requests turned away because too many were waiting."""
    abandoned: int
    """Requests whose requester was gone before their turn."""
    read_failures: int
    """Looks at slot 0 that could not read memory."""
    frozen_total_ns: int
    finisher: FinisherStatistics
