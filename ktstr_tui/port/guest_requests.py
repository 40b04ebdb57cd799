"""Captures and watches that the guest asks for, through the bridge of the run.

The guest waits for an answer to each request, for up to 30 s. So whatever cannot be served at once is answered with
"queued" first, and whatever fails with the reason: that there is no bridge, that memory is not readable by type yet,
that it never will be, that the guest did not stop.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from ktstr_tui.model.errors import GuestError, KtstrError, UsageError
from ktstr_tui.model.kinds import TRIGGERS
from ktstr_tui.port.swaps import SwapWatch
from ktstr_tui.wire.messages import MsgType, SnapshotKind, SnapshotReply, SnapshotRequest, SnapshotStatus

MEMORY_WAIT_S = 20.0
"""How long a request may wait for the guest's memory to be readable: less than the guest waits for its answer."""

_HOSTS_OWN_TAG = re.compile(
    rf"(?:{'|'.join(trigger for trigger in TRIGGERS if trigger != 'guest')})-\d+|periodic_\d{{3}}"
)
"""Captures under these names are the host's word; a guest must not put its own in their place."""


class Bridge(Protocol):
    """The snapshot bridge, as far as the guest's requests need it."""

    async def wait_for_worker_state_not_trying(self, deadline: float, op_label: str) -> None:
        """Wait until the guest's memory can be read, or never will be."""

    async def capture(self, name: str) -> bool:
        """Capture the guest; whether there is a report."""

    async def capture_with_step(self, name: str, step_index: int) -> bool:
        """Capture the guest for a step; whether there is a report."""


class GuestRequests:
    """Serves captures and watches to the guest.

    Args:
        reply: Queues a frame for the guest.
        snapshots: Takes captures and keeps them by tag.
        watch: Arms a watch on a symbol.
        swaps: Knows whether the scheduler of the step is followed yet.
        busy: Whether a capture would have to wait its turn.
    """

    def __init__(
        self,
        reply: Callable[[MsgType, bytes], None],
        snapshots: Bridge,
        watch: Callable[[str], Awaitable[None]],
        swaps: SwapWatch,
        busy: Callable[[], bool],
    ) -> None:
        self._reply = reply
        self._snapshots = snapshots
        self._watch = watch
        self._swaps = swaps
        self._busy = busy
        self._unnamed = 0
        self._waiting: set[int] = set()

    def accept(self, request: SnapshotRequest, step_index: int | None, nursery: trio.Nursery) -> None:
        """Begin to serve a request; does not wait."""
        nursery.start_soon(self._serve, request, step_index)

    def drops(self) -> dict[str, int]:
        """Return the changes of the scheduler that were not followed in time."""
        return self._swaps.drops()

    def step_began(self, step: str, scheduler: str, nursery: trio.Nursery) -> None:
        """A step begins under a scheduler: captures wait until that one is followed. Does not wait."""
        self._swaps.step_began(step, scheduler, nursery)

    def refuse(self, request_id: int, reason: str) -> None:
        """Answer a request that could not be understood."""
        self._answer(request_id, SnapshotStatus.ERR, reason)

    def _answer(self, request_id: int, status: SnapshotStatus, reason: str = "") -> None:
        self._reply(MsgType.SnapshotReply, SnapshotReply(request_id, status, reason).pack())

    def waiting(self) -> tuple[int, ...]:
        """The numbers of the requests that the guest waits for."""
        return tuple(sorted(self._waiting))

    def settle(self, request_id: int) -> None:
        """Answer a request that was made before the guest was restored, and done then."""
        self._answer(request_id, SnapshotStatus.OK)

    async def _serve(self, request: SnapshotRequest, step_index: int | None) -> None:
        self._waiting.add(request.request_id)
        try:
            await self._answered(request, step_index)
        finally:
            self._waiting.discard(request.request_id)

    async def _answered(self, request: SnapshotRequest, step_index: int | None) -> None:
        if self._busy():
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
            raise UsageError(f"{tag} is reserved for the host", "choose another tag")
        self._unnamed += not tag
        return tag or f"guest-{self._unnamed:03d}"

    async def _capture(self, name: str, step_index: int | None) -> None:
        bridge, label = self._snapshots, f"capture {name}"
        await bridge.wait_for_worker_state_not_trying(trio.current_time() + MEMORY_WAIT_S, label)
        await self._swaps.settled()
        if step_index is None:
            taken = await bridge.capture(name)
        else:
            taken = await bridge.capture_with_step(name, step_index)
        if not taken:
            raise GuestError(f"{label}: no report is available")
