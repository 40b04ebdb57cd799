"""How the screen was left, which decides what becomes of the run."""

from __future__ import annotations

from enum import StrEnum


class Leaving(StrEnum):
    """What a person chose when leaving the screen."""

    DETACH = "detach"
    """Nothing was asked: the screen did not start the run, or the run is over."""
    END = "end"
    """End the run."""
    LEAVE = "leave"
    """Leave the run in progress."""
