"""Captures and watches that the guest asks for, through the bridge of the run.

The guest waits for an answer to each request, for up to 30 s. So whatever cannot be served at once is answered with
"queued" first, and whatever fails with the reason: that there is no bridge, that memory is not readable by type yet,
that it never will be, that the guest did not stop.

The bridge counts the slots that scenarios hold and takes one before it calls back, so its watch callback must not
wait: it takes the real slot and returns, and the request is answered when the watch is armed. Such a watch makes a
capture at every hit, under the name of its symbol; its slot goes back to the bridge when the watch ends.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import trio

from ktstr_tui.backend.swaps import SwapWatch
from ktstr_tui.capture.active import require_bridge
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.capture.watch.watches import UserWatches
from ktstr_tui.model.errors import GuestError, KtstrError, UsageError
from ktstr_tui.model.kinds import TRIGGERS
from ktstr_tui.wire.messages import MsgType, SnapshotKind, SnapshotReply, SnapshotRequest, SnapshotStatus

MEMORY_WAIT_S = 20.0
"""How long a request may wait for the guest's memory to be readable: less than the guest waits for its answer."""

_HOSTS_OWN_TAG = re.compile(
    rf"(?:{'|'.join(trigger for trigger in TRIGGERS if trigger != 'guest')})-\d+|periodic_\d{{3}}"
)
"""Captures under these names are the host's word; a guest must not put its own in their place."""


class ScenarioWatches:
    """The bridge's watch callback: takes real slots for watches of the scenario.

    Args:
        watches: The slots.
    """

    def __init__(self, watches: UserWatches) -> None:
        self._watches = watches
        self._slot = 0

    async def watch(self, symbol: str) -> None:
        """Arm a watch through the bridge; returns when it is armed, or waits for memory or a pointer.

        Raises:
            KtstrError: It was refused; its slot is free again.
        """
        require_bridge().register_watch(symbol)
        await self._watches.wait_settled(self._slot)

    def install(self, bridge: SnapshotBridge) -> None:
        """Become the watch callback of a bridge."""

        def register(symbol: str) -> None:
            spec = WatchSpec(expression=symbol, capture=True, tag=symbol)
            # Looking for similar names is slow, and the guest may ask as often as it likes.
            self._slot = self._watches.register(spec, bridge.release_watch, suggest=False)

        bridge.with_watch_register(register)


class GuestRequests:
    """Serves captures and watches to the guest.

    Args:
        reply: Queues a frame for the guest.
        watch: Arms a watch on a symbol.
        swaps: Knows whether the scheduler of the step is followed yet.
        busy: Whether a capture would have to wait its turn.
    """

    def __init__(
        self,
        reply: Callable[[MsgType, bytes], None],
        watch: Callable[[str], Awaitable[None]],
        swaps: SwapWatch,
        busy: Callable[[], bool],
    ) -> None:
        self._reply = reply
        self._watch = watch
        self._swaps = swaps
        self._busy = busy
        self._unnamed = 0

    def accept(self, request: SnapshotRequest, step_index: int | None, nursery: trio.Nursery) -> None:
        """Begin to serve a request; does not wait."""
        nursery.start_soon(self._serve, request, step_index)

    def refuse(self, request_id: int, reason: str) -> None:
        """Answer a request that could not be understood."""
        self._answer(request_id, SnapshotStatus.ERR, reason)

    def _answer(self, request_id: int, status: SnapshotStatus, reason: str = "") -> None:
        self._reply(MsgType.SnapshotReply, SnapshotReply(request_id, status, reason).pack())

    async def _serve(self, request: SnapshotRequest, step_index: int | None) -> None:
        if self._busy() or self._swaps.pending:
            self._answer(request.request_id, SnapshotStatus.QUEUED)
        try:
            if request.kind == SnapshotKind.WATCH:
                await self._watch(request.tag)
            else:
                await self._capture(self._name(request.tag), step_index)
        except KtstrError as error:
            self._answer(request.request_id, SnapshotStatus.ERR, error.message)
        else:
            self._answer(request.request_id, SnapshotStatus.OK)

    def _name(self, tag: str) -> str:
        if _HOSTS_OWN_TAG.fullmatch(tag):
            raise UsageError(f"{tag} is a name that the host gives", "choose another tag")
        self._unnamed += not tag
        return tag or f"guest-{self._unnamed:03d}"

    async def _capture(self, name: str, step_index: int | None) -> None:
        bridge = require_bridge()
        label = f"capture {name}"
        await bridge.wait_for_worker_state_not_trying(trio.current_time() + MEMORY_WAIT_S, label)
        await self._swaps.settled()
        if step_index is None:
            taken = await bridge.capture(name)
        else:
            taken = await bridge.capture_with_step(name, step_index)
        if not taken:
            raise GuestError(f"{label}: there is no report to be had")
