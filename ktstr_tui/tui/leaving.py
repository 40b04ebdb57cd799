"""How the screen was left, which decides what becomes of the run."""

from __future__ import annotations

from enum import StrEnum


class Leaving(StrEnum):
    """How the screen was left."""

    DETACH = "detach"
    """Nothing was asked: the screen did not start the run, or the run is over."""
    END = "end"
    """End the run."""
    LEAVE = "leave"
    """Leave the run in progress."""
    BACK = "back"
    """Run it again to an instant, and show that."""
    GONE = "gone"
    """The terminal was closed, or a signal ended the screen: no person has chosen."""
