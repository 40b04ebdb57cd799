"""How often something may happen: the two measures of the house.

* `HitBudget`: never more than so many in any stretch of a window. For what costs the guest something each time.
* `TokenBucket`: so much at once, and a rate at which that grows back. For what arrives in bursts.

The second alone would not do: a full bucket and its refill let twice the rate through in one window.
No clock: time is passed in.
"""

from __future__ import annotations

from collections import deque


class HitBudget:
    """How many hits a watch may have in a window of time before it costs the guest too much.

    Args:
        limit: Hits allowed in one window.
        window_ns: Its length.
    """

    def __init__(self, limit: int, window_ns: int = 1_000_000_000) -> None:
        self.limit = limit
        self._window_ns = window_ns
        self._hits: deque[int] = deque(maxlen=limit)

    def spend(self, now_ns: int) -> bool:
        """Count a hit; False when it is one too many."""
        if len(self._hits) == self.limit and now_ns - self._hits[0] < self._window_ns:
            return False
        self._hits.append(now_ns)
        return True

    def refill(self) -> None:
        """Forget all hits."""
        self._hits.clear()


class TokenBucket:
    """Lets a burst through and then a steady rate.

    Args:
        burst: What may come at once after a pause; the bucket is full at first.
        per_s: How fast it fills again.
        now_ns: The time, in nanoseconds.
    """

    def __init__(self, burst: float, per_s: float, now_ns: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = float(burst)
        self._at_ns = now_ns

    def take(self, cost: float, now_ns: int) -> bool:
        """Take ``cost`` out of the bucket; False, and nothing is taken, when there is not so much in it."""
        gained = max(0, now_ns - self._at_ns) / 1e9 * self._per_s
        self._tokens = min(self._burst, self._tokens + gained)
        self._at_ns = max(self._at_ns, now_ns)
        if cost > self._tokens:
            return False
        self._tokens -= cost
        return True
