"""Kernel operations: reads and writes of the guest's kernel memory, hot or cold.

compile, locate and check all, in a thread ─▶ record the intent ─▶ change one after the other, each located and
checked again ─▶ record the result

*Hot* leaves the guest running: what is read may change while it is read, and a write is one atomic instruction
when it has four or eight aligned bytes. *Cold* does the same inside a rendezvous of the coordinator, where nothing
moves. Either way nothing is changed unless every entry passed every check, and before that the intent is on disk,
or the write is refused (see `audit`). What was there before a write is what the write itself replaced, and what is
there after it is read through the mapping that everybody else looks through.

A write that was carried out is always audited, even when whoever asked for it is cancelled in the middle.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import trio

from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.kernel.targets import Targets
from ktstr_tui.kernel.typed_values import TypedValues
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.write import WriteRefused
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.errors import GuestError, HostError, KtstrError, UsageError
from ktstr_tui.model.events import Event, KernelOpDone, Logged
from ktstr_tui.ops.audit import AuditStatistics, AuditTrail
from ktstr_tui.ops.compile import MAX_WRITE_BYTES, check_sizes, compile_places
from ktstr_tui.ops.memory import OpReader, OpWriter
from ktstr_tui.ops.result import Located, OpResult, describe
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire import kernel_ops as wire

__all__ = ["MAX_WRITE_BYTES", "KernelOps", "KernelOpsStatistics", "Located", "OpResult", "describe"]

REFUSALS_TOLD_PER_S = 10
"""Refused writes that become events and lines of the trail; all are counted."""
_NO_WRITES = "this run does not allow writes to the guest's kernel"


class KernelOpsStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of kernel operations."""

    reads: int
    """Carried out."""
    writes: int
    refused: dict[str, int]
    """Neither, by direction and class of the error."""
    refusals_untold: int
    """Refused writes that were counted only."""
    audit: AuditStatistics


class KernelOps:
    """Carries out kernel operations.

    Args:
        coordinator: Stops the guest for cold ones.
        emit: Takes events, on the trio thread.
        audit: Where writes are written down.
        writable: The guest's memory, writable; None when the run does not allow writes.
        memory: The guest's memory, once it is readable by type.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        emit: Callable[[Event], object],
        audit: AuditTrail,
        writable: WritableRam | None,
        memory: TypedMemory,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._coordinator = coordinator
        self._emit = emit
        self._audit = audit
        self._writable = writable
        self._clock = clock
        self._typed = memory
        self._targets: Targets | None = None
        self._writer: OpWriter | None = None
        self._one = trio.CapacityLimiter(1)
        self._reads = self._writes = self._untold = 0
        self._refused: Counter[str] = Counter()
        self._budget = HitBudget(REFUSALS_TOLD_PER_S)

    async def run(
        self,
        op: wire.KernelOp,
        who: str,
        *,
        reply_bytes: int = wire.KERNEL_OP_REPLY_MAX,
        suggest: bool = True,
        each: bool = False,
    ) -> OpResult:
        """Carry out an operation. What goes wrong is in the result; nothing is raised for it.

        Args:
            op: What is asked.
            who: Who asks, for the audit.
            reply_bytes: What the answer may have.
            suggest: Whether an unknown symbol is answered with names that look like it, which takes long.
            each: Whether each entry of a read counts for itself: a wrong one has an error, the others are read.
        """
        result = OpResult(op, each=each and op.direction == "read")
        # From here to the audit in one piece. It ends when the guest is gone, and stops are bounded in time.
        with trio.CancelScope(shield=True):
            try:
                await self._carry_out(result, who, reply_bytes, suggest)
            except KtstrError as error:
                result.error = error
            except (LookupError, ValueError, TypeError, OverflowError) as error:
                result.error = GuestError(f"inconsistent kernel memory: {type(error).__name__}: {error}")
            await self._account(result, who)
        await trio.lowlevel.checkpoint_if_cancelled()
        return result

    async def dry_run(self, op: wire.KernelOp) -> tuple[str, ...]:
        """Say what a write would change where, after all its checks; nothing is changed.

        Raises:
            KtstrError: The write would be refused.
        """
        view, writable = self._typed.view, self._writable
        if op.direction != "write":
            raise UsageError("only a write has a dry run", "read it: ktstr-tui op read")
        if writable is None:
            raise WriteRefused(_NO_WRITES, "start it with: ktstr-tui run --allow-writes")
        if view is None:
            raise GuestError("the kernel's BTF is not loaded yet", "try again when it is up")
        targets = self._find_targets(view)

        def look() -> tuple[str, ...]:
            result = OpResult(op)
            result.places = compile_places(targets, op, suggest=True, each=False)
            check_sizes(result.places, writing=True, reply_bytes=wire.KERNEL_OP_REPLY_MAX)
            self._open_writer(view, writable).check(result)
            return tuple(place.effect() for place in result.places)

        return await trio.to_thread.run_sync(look, limiter=self._one)

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"refusals-not-reported": self._untold, **self._audit.drops()}

    def statistics(self) -> KernelOpsStatistics:
        """Counters so far."""
        return KernelOpsStatistics(
            reads=self._reads,
            writes=self._writes,
            refused=dict(self._refused),
            refusals_untold=self._untold,
            audit=self._audit.statistics(),
        )

    # -- the way of an operation -----------------------------------------------------------------------

    async def _carry_out(self, result: OpResult, who: str, reply_bytes: int, suggest: bool) -> None:
        op, writing = result.op, result.op.direction == "write"
        writable = self._writable
        if writing and writable is None:
            raise WriteRefused(_NO_WRITES, "start it with: ktstr-tui run --allow-writes")
        view = self._typed.view
        if view is None:
            raise GuestError("the kernel's BTF is not loaded yet", "try again when it is up")
        targets = self._find_targets(view)

        def prepare() -> Callable[[OpResult], None]:
            result.places = compile_places(targets, op, suggest=suggest, each=result.each)
            check_sizes(result.places, writing=writing, reply_bytes=reply_bytes)
            if not writing or writable is None:
                return OpReader(view).read
            writer = self._open_writer(view, writable)
            writer.check(result)
            result.intent = self._audit.intend(who, result.intended(), _wall_time())
            return writer.write

        carry_out = await trio.to_thread.run_sync(prepare, limiter=self._one)
        if all(place.error for place in result.places):
            return

        def work() -> None:
            try:
                carry_out(result)
            except KtstrError as error:
                result.error = error
            except (LookupError, ValueError, TypeError, OverflowError) as error:
                result.error = GuestError(f"inconsistent kernel memory: {type(error).__name__}: {error}")

        if op.mode == "cold":
            result.pause = await self._coordinator.while_stopped(work)
        else:
            await trio.to_thread.run_sync(work, limiter=self._one)
        await trio.to_thread.run_sync(result.decode, TypedValues(view.btf, view.symbols), limiter=self._one)

    async def _account(self, result: OpResult, who: str) -> None:
        op = result.op
        if result.success:
            self._reads += op.direction == "read"
            self._writes += op.direction == "write"
        else:
            self._refused[f"{op.direction}: {type(result.error).__name__}"] += 1
        for place in result.places:
            if place.error is not None:
                self._refused[f"read: {type(place.error).__name__}"] += 1
        if op.direction == "read":
            return
        if result.intent is None and not self._budget.spend(self._clock()):
            self._untold += 1
            return
        event = KernelOpDone(
            who=who,
            mode=op.mode,
            ok=result.success,
            reason=result.reason,
            tag=op.tag,
            entries=result.entries(),
            pause=result.pause,
            mono_ns=self._clock(),
        )
        self._emit(event)
        problem = await trio.to_thread.run_sync(
            self._audit.append, event, _wall_time(), result.intent, limiter=self._one
        )
        if problem is None:
            return
        text = f"the audit log {self._audit.path} is not writable: {problem}"
        self._emit(Logged(severity="error", source="write", text=text))
        if result.changed:
            result.error = HostError(
                f"memory was written, but {text}; the intent is recorded, the result follows when there is room",
                "free some space; no further write is accepted before that",
            )

    def _find_targets(self, view: KernelView) -> Targets:
        if self._targets is None:
            self._targets = Targets(view.btf, view.symbols, view.expressions, view.space)
        return self._targets

    def _open_writer(self, view: KernelView, writable: WritableRam) -> OpWriter:
        # Once for all writes: to find out what must not be written to takes long.
        if self._writer is None:
            self._writer = OpWriter(view, writable)
        return self._writer


def _wall_time() -> str:
    return datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
