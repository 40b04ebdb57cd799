"""How long a run may last, on a clock that stands while the guest stands.

Nobody knows beforehand for how long a guest will be frozen, so a deadline cannot be slept until: the time that is left
is computed again whenever it would be over, and not more often than every `FROZEN_LOOK_S` while the guest is frozen.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from ktstr_tui.backend.outcome import RunEnd

FROZEN_LOOK_S = 0.05
"""How often the time of a frozen run is looked at again."""


async def watch_duration(
    system_ready: trio.Event, frozen_total_ns: Callable[[], int], ending: RunEnd, duration_s: float
) -> None:
    """End the run ``duration_s`` after the guest is up; time in which it was frozen does not count."""
    await system_ready.wait()
    ready_ns, frozen_ns = time.monotonic_ns(), frozen_total_ns()
    while True:
        stood_ns = frozen_total_ns() - frozen_ns
        left_s = duration_s - (time.monotonic_ns() - ready_ns - stood_ns) / 1e9
        if left_s <= 0:
            break
        await trio.sleep(max(left_s, FROZEN_LOOK_S))
    ending.set(f"duration of {duration_s:g} s reached", out_of_time=True)


def available_ms(scenario_ms: float, duration_s: float | None, ready_ns: int | None) -> float:
    """How long a scenario that begins now will take as planned or may take at most.

    Args:
        scenario_ms: As planned.
        duration_s: How long the run may last; None for as long as it likes.
        ready_ns: Host monotonic time at which the guest was up, from when on that counts.
    """
    if duration_s is None or ready_ns is None:
        return float(scenario_ms)
    gone_ms = (time.monotonic_ns() - ready_ns) / 1e6
    return min(scenario_ms, max(0.0, duration_s * 1e3 - gone_ms))
