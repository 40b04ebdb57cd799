"""A guest's port without a machine: an action handler whose captures go through a bridge of the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from ktstr_tui.capture.accessor import AccessorState
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.guest_requests import GuestRequests
from ktstr_tui.port.handler import ActionHandler, Servers
from ktstr_tui.port.now import Now, StepInfo
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.replacing import SchedulerReplacer
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.port.scheduler_log import SchedulerLog
from ktstr_tui.port.swaps import SwapWatch
from ktstr_tui.wire.kernel_ops import KernelOpRequest
from ktstr_tui.wire.messages import MsgType, SnapshotReply, SnapshotStatus


class Kept(Outbox):
    """An outbox that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: list[tuple[MsgType, bytes]] = []

    def reply(self, kind: MsgType, payload: bytes = b"") -> None:
        self.replies.append((kind, payload))


class NoKernelOps:
    """Serves no kernel operation; nobody may ask for one."""

    def accept(self, request: KernelOpRequest, nursery: trio.Nursery) -> None:
        raise AssertionError("nobody asked for a kernel operation")

    def refuse(self, request_id: int, reason: str) -> None:
        raise AssertionError("nobody asked for a kernel operation")


class Asked:
    """Takes actions, and keeps what came of them. It has a bridge of its own.

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
        self.taken: list[str] = []
        self.events: list[Event] = []
        self.go = trio.Event()
        self.error: KtstrError | None = None
        self.clock = ScenarioClock(self._clock_ns)
        self.accessor = accessor or AccessorState()
        if accessor is None:
            self.accessor.publish()
        if not waits:
            self.go.set()
        self.bridge = SnapshotBridge(self._capture).with_accessor_state(self.accessor)
        self.swaps = SwapWatch(self.events.append, self.bridge)
        self.outbox = Kept()
        self.replies = self.outbox.replies
        swaps = self.swaps
        requests = GuestRequests(
            self.outbox.reply, self.bridge, self._watch, swaps, lambda: busy or swaps.pending
        )
        self.replacer = SchedulerReplacer(
            self.outbox, self.events.append, lambda: 0, self._clock_ns, self.swaps, nursery
        )
        self.handler = ActionHandler(
            emit=self.events.append,
            nursery=nursery,
            outbox=self.outbox,
            now=Now(self.clock, steps),
            servers=Servers(
                requests, NoKernelOps(), SchedulerLog(Path(os.devnull), max_bytes=0), self.replacer
            ),
            claims=KernelClaims(self.events.append),
            fail=lambda reason, error: None,
        )

    def _clock_ns(self) -> int:
        return round(trio.current_time() * 1e9)

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
