"""Watches that the guest asks for with WATCH frames, through the snapshot bridge.

The bridge counts the slots that scenarios hold and takes one before it calls back, so the callback must not
wait: it takes the real slot and returns, and the frame is answered when the watch is armed. Such a watch makes
a capture at every hit, under the name of its symbol; its slot goes back to the bridge when the watch ends.
"""

from __future__ import annotations

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.watch_spec import WatchSpec
from ktstr_tui.capture.watches import UserWatches


class GuestWatches:
    """Serves watches to the guest.

    Args:
        bridge: Gets its watch callback here.
        watches: The slots.
    """

    def __init__(self, bridge: SnapshotBridge, watches: UserWatches) -> None:
        self._bridge = bridge.with_watch_register(self._register)
        self._watches = watches
        self._slot = 0

    async def watch(self, symbol: str) -> None:
        """Arm a watch; returns when it is armed, or waits for memory or a pointer.

        Raises:
            KtstrError: It was refused; its slot is free again.
        """
        self._bridge.register_watch(symbol)
        await self._watches.wait_settled(self._slot)

    def _register(self, symbol: str) -> None:
        spec = WatchSpec(expression=symbol, capture=True, tag=symbol)
        # Looking for similar names is slow, and the guest may ask as often as it likes.
        self._slot = self._watches.register(spec, self._bridge.release_watch, suggest=False)
