"""When captures are due: the periodic ones from how long the scenario will take, the early one from the timeout."""

from __future__ import annotations

MAX_PERIODIC = 64
"""As many as the snapshot bridge keeps."""
MIN_GAP_MS = 100.0
EARLY_SHARE = 0.5
"""Of the watchdog timeout: a task that has waited for so long is worth an early capture."""


def available_ms(scenario_ms: float, duration_s: float | None, gone_ms: float | None) -> float:
    """How long a scenario that begins now will take as planned or may take at most.

    Args:
        scenario_ms: As planned.
        duration_s: How long the run may last; None for as long as it likes.
        gone_ms: How long the guest has been up, from when on that counts; None while it is not.
    """
    if duration_s is None or gone_ms is None:
        return float(scenario_ms)
    return min(scenario_ms, max(0.0, duration_s * 1e3 - gone_ms))


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
