"""Watches that the guest's scenario asks for, through the bridge of the run.

The bridge counts the slots that scenarios hold and takes one before it calls back, so its watch callback must not
wait: it takes the real slot and returns, and the request is answered when the watch is armed. Such a watch makes a
capture at every hit, under the name of its symbol; its slot goes back to the bridge when the watch ends.
"""

from __future__ import annotations

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.capture.watch.watches import UserWatches


class ScenarioWatches:
    """The bridge's watch callback: takes real slots for watches of the scenario.

    Args:
        watches: The slots.
        bridge: Counts the watches of the scenario, and calls back for each.
    """

    def __init__(self, watches: UserWatches, bridge: SnapshotBridge) -> None:
        self._watches = watches
        self._bridge = bridge
        self._slot = 0
        bridge.with_watch_register(self._register)

    async def watch(self, symbol: str) -> None:
        """Arm a watch through the bridge; returns when it is armed, or waits for memory or a pointer.

        Raises:
            KtstrError: It was refused; its slot is free again.
        """
        self._bridge.register_watch(symbol)
        await self._watches.wait_settled(self._slot)

    def _register(self, symbol: str) -> None:
        spec = WatchSpec(expression=symbol, capture=True, tag=symbol)
        # Looking for similar names is slow, and the guest may ask as often as it likes.
        self._slot = self._watches.register(spec, self._bridge.release_watch, suggest=False)
