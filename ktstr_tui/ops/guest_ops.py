"""Kernel operations that the guest asks for in frames.

The guest may ask as often as it likes and about anything. So it gets a number of operations at a time and a number
in a second, past which it is refused at once; and every request whose id can be read is answered, because the
guest waits for nothing else meanwhile. Its operations go through the run's bridge, which keeps the replies by tag.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
import trio

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.errors import InternalError, KtstrError
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.guest_requests import MEMORY_WAIT_S
from ktstr_tui.wire.frames import MAX_PAYLOAD_BYTES
from ktstr_tui.wire.kernel_ops import KernelOpReply, KernelOpRequest
from ktstr_tui.wire.messages import MsgType

MAX_AT_ONCE = 8
"""Operations of the guest that may be under way."""
MAX_PER_S = 100
"""Operations of the guest in a second."""


class GuestKernelOpsStatistics(msgspec.Struct, frozen=True):
    """What became of the guest's requests."""

    served: int
    over_budget: int
    """Refused because there were too many."""
    malformed: int
    """Refused for their bytes."""


class GuestKernelOps:
    """Serves kernel operations to the guest.

    Args:
        ops: Carries them out.
        bridge: The run's; its kernel-op callback becomes this object's.
        reply: Queues a frame for the guest.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        ops: KernelOps,
        bridge: SnapshotBridge,
        reply: Callable[[MsgType, bytes], None],
        clock: Callable[[], int],
    ) -> None:
        self._ops = ops
        self._bridge = bridge.with_kernel_op(self._carry_out)
        self._reply = reply
        self._clock = clock
        self._budget = HitBudget(MAX_PER_S)
        self._under_way = self._served = self._over_budget = self._malformed = 0

    def accept(self, request: KernelOpRequest, nursery: trio.Nursery) -> None:
        """Begin to serve a request, or refuse it; does not wait."""
        if self._under_way >= MAX_AT_ONCE or not self._budget.spend(self._clock()):
            self._over_budget += 1
            reason = f"too many requests: at most {MAX_AT_ONCE} at a time and {MAX_PER_S} a second"
            self._answer(KernelOpReply(request.request_id, False, reason))
            return
        self._under_way += 1
        nursery.start_soon(self._serve, request)

    def refuse(self, request_id: int, reason: str) -> None:
        """Answer a request that could not be understood."""
        self._malformed += 1
        self._answer(KernelOpReply(request_id, False, reason))

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"too-many": self._over_budget, "malformed": self._malformed}

    def statistics(self) -> GuestKernelOpsStatistics:
        """Counters so far."""
        return GuestKernelOpsStatistics(self._served, self._over_budget, self._malformed)

    async def _serve(self, request: KernelOpRequest) -> None:
        try:
            reply = await self._reply_of(request)
        except KtstrError as error:
            reply = KernelOpReply(request.request_id, False, error.message)
        finally:
            self._under_way -= 1
        self._answer(reply)

    async def _reply_of(self, request: KernelOpRequest) -> KernelOpReply:
        bridge = self._bridge
        label = f"kernel operation {request.tag}".rstrip()
        await bridge.wait_for_worker_state_not_trying(trio.current_time() + MEMORY_WAIT_S, label)
        reply = await bridge.dispatch_kernel_op(request)
        if reply is None:
            raise InternalError("no kernel-op callback is installed on this run's bridge")
        return cast("KernelOpReply", reply)

    async def _carry_out(self, request: KernelOpRequest) -> KernelOpReply:
        result = await self._ops.run(request.op, "guest", reply_bytes=MAX_PAYLOAD_BYTES, suggest=False)
        self._served += 1
        return result.reply(request.request_id)

    def _answer(self, reply: KernelOpReply) -> None:
        self._reply(MsgType.KernelOpReply, reply.pack())
