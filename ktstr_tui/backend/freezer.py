"""Whether the viewer that the guest is frozen for is still there.

A tour freezes the guest while its screen waits for a key. A screen that is killed or stopped takes no key any more, and
cannot thaw the guest either. Viewers ping every second, so silence tells both. It is counted in looks and not in time:
when the whole host stood still, nobody could ping and nobody looked.
"""

from __future__ import annotations

from collections.abc import Callable

GONE_LOOKS = 10
"""Looks in a row, one a second, without a ping between them."""


class Freezer:
    """Watches one viewer at a time.

    Args:
        pings: How often the viewer of a topic has pinged so far.
    """

    def __init__(self, pings: Callable[[str], int]) -> None:
        self._pings = pings
        self._viewer = ""
        self._seen = 0
        self._silent = 0

    def is_gone(self, viewer: str) -> bool:
        """Look once more; whether the viewer of a topic was silent for `GONE_LOOKS` looks.

        Args:
            viewer: Its topic; empty for nobody, who is never gone.
        """
        if not viewer:
            self._viewer = ""
            return False
        pings = self._pings(viewer)
        if viewer != self._viewer or pings != self._seen:
            self._viewer, self._seen, self._silent = viewer, pings, 0
        else:
            self._silent += 1
        return self._silent >= GONE_LOOKS
