"""The scenario's own time: begins with ScenarioStart and stands while the scenario pauses or the guest is frozen.

It is kept on the run's clock and corrected, so that it agrees with the guest's clock (which stands while the vCPUs
do) without asking the guest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ktstr_tui.guest.guest_time import sleep_or

_FROZEN_LOOK_S = 0.01
"""How often a clock that stands because of a freeze is looked at again; nobody tells when it goes on."""
_SLACK_NS = 1000


class ScenarioClock:
    """Time since the scenario began.

    Args:
        now_ns: The run's clock.
        frozen_total_ns: How long the guest has stood in all, up to now.
        sleep: Waits, in seconds of the run's clock.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        frozen_total_ns: Callable[[], int] = lambda: 0,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    ) -> None:
        self._sleep = sleep
        self.started = trio.Event()
        self.ended = trio.Event()
        self._now_ns = now_ns
        self._frozen_total_ns = frozen_total_ns
        self._before_ns = 0
        self._since: tuple[int, int] | None = None
        self._changed = trio.Event()

    @property
    def paused(self) -> bool:
        """Whether it stands for another reason than a freeze: not begun, paused by the scenario, or over."""
        return self._since is None

    def elapsed_ns(self) -> int | None:
        """Nanoseconds since the beginning; None before it."""
        if not self.started.is_set():
            return None
        if self._since is None:
            return self._before_ns
        now_ns, frozen_ns = self._since
        return self._before_ns + (self._now_ns() - now_ns) - (self._frozen_total_ns() - frozen_ns)

    def elapsed_ms(self) -> float | None:
        """The same in milliseconds."""
        elapsed_ns = self.elapsed_ns()
        return None if elapsed_ns is None else elapsed_ns / 1e6

    def start(self, elapsed_ns: int = 0) -> None:
        """The scenario begins, in a restored guest at ``elapsed_ns``; a second time does nothing."""
        if not self.started.is_set():
            self._before_ns = elapsed_ns
            self.started.set()
            self.resume()

    def pause(self) -> None:
        """The scenario pauses."""
        self._before_ns = self.elapsed_ns() or 0
        self._since = None
        self._tell()

    def resume(self) -> None:
        """The scenario goes on."""
        if self._since is None and self.started.is_set() and not self.ended.is_set():
            self._since = (self._now_ns(), self._frozen_total_ns())
            self._tell()

    def end(self) -> None:
        """The scenario is over."""
        self.ended.set()
        self.pause()

    async def wait_until(self, offset_ns: int) -> bool:
        """Wait until the clock shows ``offset_ns``; False when the scenario ended before."""
        await self.started.wait()
        while not self.ended.is_set():
            left_ns = offset_ns - (self.elapsed_ns() or 0)
            if left_ns <= _SLACK_NS:
                return True
            # The clock may stand all this time; then the same is left afterwards.
            if self.paused:
                await self._changed.wait()
            else:
                await sleep_or(self._changed, self._sleep, max(left_ns / 1e9, _FROZEN_LOOK_S))
        return False

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
