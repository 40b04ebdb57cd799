"""How fast a run's own time passes, against the time of whoever looks on.

A run with a seed lives in the guest's time: a busy guest needs longer for a second than a second, an idle one less.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

SPAN_NS: Final = 3_000_000_000
"""How much of the past counts."""
LEAST_NS: Final = 1_000_000_000
"""The shortest past from which a pace is worked out."""
LOOKS: Final = 64


class Pace:
    """The pace of one run over the last seconds.

    Args:
        clock: Our monotonic clock in ns.
    """

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._looks: deque[tuple[int, int]] = deque(maxlen=LOOKS)

    def look(self, run_ns: int) -> float | None:
        """Note the run's time, and tell its seconds per second of ours; None when it was not looked at for long enough.

        Args:
            run_ns: The time of its newest event.
        """
        now_ns = self._clock()
        if self._looks and run_ns < self._looks[-1][1]:
            self._looks.clear()
        if not self._looks or now_ns - self._looks[-1][0] >= SPAN_NS // LOOKS:
            self._looks.append((now_ns, run_ns))
        while len(self._looks) > 1 and now_ns - self._looks[1][0] >= SPAN_NS:
            self._looks.popleft()
        since_ns, then_ns = self._looks[0]
        spent_ns = now_ns - since_ns
        return (run_ns - then_ns) / spent_ns if spent_ns >= LEAST_NS else None
