"""When the periodic captures of a scenario are due: known when it begins, from how long it will take."""

from __future__ import annotations

MAX_PERIODIC = 64
"""As many as the snapshot bridge keeps."""
MIN_GAP_MS = 100.0


def periodic_boundaries_ms(avail_ms: float, count: int) -> list[float]:
    """When captures are due, in milliseconds since the scenario began.

    Args:
        avail_ms: How long the scenario takes.
        count: How many are wanted; fewer are due when they would lie less than `MIN_GAP_MS` apart.
    """
    window_ms = 0.8 * avail_ms
    fit = min(count, MAX_PERIODIC, max(0, int(window_ms / MIN_GAP_MS + 1e-9) - 1))
    return [avail_ms / 10 + (i + 1) * window_ms / (fit + 1) for i in range(fit)]


def periodic_tag(index: int) -> str:
    """``periodic_000`` for the first."""
    return f"periodic_{index:03d}"
