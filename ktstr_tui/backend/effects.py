"""What a dangerous command would affect: told in a dry run, and asked once more right before it is done.

Operators sign the hash of the answer. If anything in it is another thing by the time of the deed (another kernel after
a restart, another task under the same pid, another scheduler), it is not what they agreed to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ktstr_tui.link.stream import Stream
from ktstr_tui.model import commands as cmd
from ktstr_tui.model import control as ct
from ktstr_tui.model.errors import GuestError, RefusedError, UsageError
from ktstr_tui.model.signing import Affected
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.wire.kernel_ops import KernelOp

_LOST = "what is in its memory is gone"


class HasKernelOps(Protocol):
    """A live guest, as far as effects need it."""

    kernel_ops: KernelOps


class Effects:
    """Looks without touching.

    Args:
        guest: The machine; None before it starts and when it is gone.
        stream: Knows the run.
    """

    def __init__(self, guest: Callable[[], HasKernelOps | None], stream: Stream) -> None:
        self._guest = guest
        self._stream = stream

    async def of_request(self, request: cmd.DangerousRequest) -> Affected:
        """What a request would affect now.

        Raises:
            KtstrError: It would be refused.
        """
        match request:
            case cmd.RunKernelOp(op=op):
                return await self._of_write(op)
            case cmd.End():
                return self._of_guest(request.name, "the guest is taken down and the run ends", _LOST)
            case cmd.RestartGuest():
                return self._of_guest(request.name, "the guest is taken down and boots again", _LOST)
            case cmd.AttachDebugger():
                does = "a debugger stops the guest, and reads all of its memory"
                return self._of_guest(request.name, does, "it writes only in a run with --allow-writes")

    async def check(self, pending: ct.PendingAction) -> None:
        """Return when an action would affect what was signed, or nothing was.

        Raises:
            RefusedError: It would affect something else by now.
            KtstrError: It would be refused.
        """
        if not pending.affected:
            return
        now = await self.of_request(_request(pending.action))
        if now.digest().hex() != pending.affected:
            text = f"{pending.action.kind} would affect something else than what was signed: {'; '.join(now.what)}"
            raise RefusedError(text, "look at it again: ktstr-tui operator propose", "effect-changed")

    async def _of_write(self, plain: dict[str, Any]) -> Affected:
        guest = self._guest()
        if guest is None:
            raise GuestError("the guest has not started or is gone")
        try:
            op = msgspec.convert(plain, KernelOp)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise UsageError(f"kernel-op: {error}") from error
        warnings = ("the guest runs on meanwhile",) if op.mode == "hot" else ("the guest is frozen for it",)
        return Affected(request="kernel-op", what=await guest.kernel_ops.dry_run(op), warnings=warnings)

    def _of_guest(self, name: str, *warnings: str) -> Affected:
        state = self._stream.state
        run = "this run" if state.info is None else f"run {state.info.name} ({state.info.run_id})"
        sample = state.scheduler
        scheduler = sample.name if sample is not None and sample.state == "enabled" else None
        what = (run, f"boot {state.edit.boots}", f"scheduler {scheduler or 'none'}")
        return Affected(request=name, what=what, warnings=warnings)


def _request(action: ct.Action) -> cmd.DangerousRequest:
    match action:
        case ct.RunKernelWrite(op=op):
            return cmd.RunKernelOp(op=op)
        case ct.StopRun():
            return cmd.End()
        case ct.RestartGuest():
            return cmd.RestartGuest()
        case ct.OpenDebugger(port=port):
            return cmd.AttachDebugger(port=port)
    raise UsageError(f"{action.kind} has no dry run")
