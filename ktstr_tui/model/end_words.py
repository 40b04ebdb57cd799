"""Why a run ended, in words. The table of ends in docs/reference.md is made with them."""

from __future__ import annotations

SCENARIO_FINISHED = "scenario finished"
SCREEN_GONE = "ended because its screen is gone"
"""What `--on-exit end` makes of a screen that is killed."""


def duration_reached(limit_s: float) -> str:
    """Time is up: ``duration of 90 s reached``."""
    return f"duration of {limit_s:g} s reached"


def ended_by_viewer(who: str) -> str:
    """A person or a program asked for the end with a command."""
    return f"ended by {who} (ktstr-tui end)"


def ended_by_signal(name: str) -> str:
    """A signal asked for the end: ``ended by SIGTERM``; of the screen that started the run when the name is empty."""
    return f"ended by {name}" if name else "ended from the screen"
