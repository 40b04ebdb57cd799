"""Events of heartbeats: who beats, who fell silent, and what was refused."""

from __future__ import annotations

from ktstr_tui.model.beats import BeatRow, Domain, StallCause
from ktstr_tui.model.event_base import RunEvent


class BeatsObserved(RunEvent, frozen=True, kw_only=True, tag="beats"):
    """Who beats, at most five times a second."""

    rows: tuple[BeatRow, ...]
    """At most `ktstr_tui.model.beats.MAX_ROWS`."""
    tracked: int
    """Senders in all."""
    threshold_ms: float
    counters: dict[str, int]
    """Counters of the observers, by their names in the exported metrics; those of 0 are left out."""


class BeatStalled(RunEvent, frozen=True, kw_only=True, tag="beat-stalled"):
    """A sender fell silent: said once for each silence."""

    domain: Domain
    pid: int
    comm: str = ""
    silent_ms: float
    last_nonce: int
    origin: str
    cause: StallCause | None = None
    """None for senders of the host, into which nobody looks."""
    text: str
    """All of it in a sentence."""


class BeatRecovered(RunEvent, frozen=True, kw_only=True, tag="beat-recovered"):
    """A silent sender beats again."""

    domain: Domain
    pid: int
    comm: str = ""
    silent_ms: float
    """The whole length of the silence."""


class BeatsEnded(RunEvent, frozen=True, kw_only=True, tag="beats-ended"):
    """All senders of a domain are gone, as they should be: their step is over."""

    domain: Domain


class BeatRefused(RunEvent, frozen=True, kw_only=True, tag="beat-refused"):
    """Datagrams that were no beats or not their sender's, told at most once a second for each kind."""

    kind: str
    """``decode``, ``auth-failure``, ``origin-conflict``, ``namespace-conflict``, ``io`` or ``ctrl-truncated``."""
    domain: Domain
    claimed_pid: int | None = None
    detail: str
    count: int = 1
    """Of this kind since it was last told."""
