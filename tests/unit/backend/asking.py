"""A guest's port without a machine: an action handler whose captures go through a bridge of the test's own."""

from __future__ import annotations

from typing import cast

import trio

from ktstr_tui.backend.actions import ActionHandler, StepInfo
from ktstr_tui.backend.guest_requests import GuestRequests
from ktstr_tui.backend.kernel_ops import GuestKernelOps
from ktstr_tui.backend.swaps import SwapWatch
from ktstr_tui.capture.accessor import AccessorState
from ktstr_tui.capture.active import set_task_local
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.wire.messages import MsgType, SnapshotReply, SnapshotStatus


class Asked:
    """Takes actions, and keeps what came of them. Its bridge is that of the test's own task from here on.

    Args:
        nursery: Where requests are served.
        busy: Whether a capture has to wait its turn.
        waits: Whether captures wait for `go`.
        steps: The scenario's.
        accessor: For the bridge; one that has published when None.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        busy: bool = False,
        waits: bool = False,
        steps: tuple[StepInfo, ...] = (),
        accessor: AccessorState | None = None,
    ) -> None:
        self.replies: list[tuple[MsgType, bytes]] = []
        self.taken: list[str] = []
        self.events: list[Event] = []
        self.go = trio.Event()
        self.error: KtstrError | None = None
        self.clock = ScenarioClock(lambda: round(trio.current_time() * 1e9))
        self.accessor = accessor or AccessorState()
        if accessor is None:
            self.accessor.publish()
        if not waits:
            self.go.set()
        self.bridge = SnapshotBridge(self._capture).with_accessor_state(self.accessor)
        set_task_local(self.bridge)
        self.swaps = SwapWatch(self.events.append)
        self.handler = ActionHandler(
            emit=self.events.append,
            steps=steps,
            reply=self._reply,
            requests=GuestRequests(self._reply, self._watch, self.swaps, lambda: busy),
            swaps=self.swaps,
            kernel_ops=cast("GuestKernelOps", None),
            claims=KernelClaims(self.events.append),
            clock=self.clock,
            nursery=nursery,
            fail=lambda reason, error: None,
        )

    def _reply(self, kind: MsgType, payload: bytes) -> None:
        self.replies.append((kind, payload))

    async def _capture(self, tag: str) -> CaptureReport | None:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(tag)
        return CaptureReport(tag=tag, trigger="guest")

    async def _watch(self, symbol: str) -> None:
        raise AssertionError("nobody asked for a watch")

    def answers(self) -> list[SnapshotReply]:
        """The replies to captures and watches."""
        return [SnapshotReply.unpack(it) for kind, it in self.replies if kind is MsgType.SnapshotReply]

    def told(self) -> list[tuple[int, SnapshotStatus, str]]:
        """The same, for comparing."""
        return [(it.request_id, it.status, it.reason) for it in self.answers()]
