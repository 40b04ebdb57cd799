"""Keeps a guest's time from running ahead of the host's.

A run with a seed skips what is idle, so a guest with nothing to do lives through minutes in a moment. That is what a
rerun or a search wants, and not who looks on: before a command has come the run is over. So a run that was given a
seed without asking for one is held back at its stations, where the machine does not notice.
"""

from __future__ import annotations

from typing import Final

import trio

BEHIND_NS: Final = 100_000_000
"""Guest time that is caught up on when the host was slow; what is beyond that has gone by."""


class Pacer:
    """Holds one guest back."""

    def __init__(self) -> None:
        self._since_ns: int | None = None

    async def keep(self, guest_ns: int) -> None:
        """Return when as much of the host's time has gone by as of the guest's.

        Args:
            guest_ns: What the guest's clock shows.
        """
        apart_ns = round(trio.current_time() * 1e9) - guest_ns
        if self._since_ns is None or apart_ns > self._since_ns + BEHIND_NS:
            self._since_ns = apart_ns
        await trio.sleep(max(0, self._since_ns - apart_ns) / 1e9)
