"""The snapshot bridge: where a scenario asks for captures and where all captures of a run are kept for it.

Requests go through callbacks, so that the same scenario code runs against a real machine and in a unit
test. Results are kept by tag (see `snapshots`) until somebody drains them. A bridge belongs to the trio thread.

`drain`, `drain_ordered`, `drain_kernel_ops`, `event_count`, `is_empty`, `kernel_op_value` and the two `capture`
methods are kept for scenarios that are written in Python; the program itself uses the others.

"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, Self, cast

import msgspec

from ktstr_tui.capture.accessor import AccessorState
from ktstr_tui.capture.snapshots import (
    MAX_STORED_EVENTS,
    MAX_STORED_SNAPSHOTS,
    BridgeEvent,
    CaptureUnavailable,
    DrainedSnapshot,
    Eviction,
    Snapshots,
    Stats,
)
from ktstr_tui.model.errors import InternalError, UsageError
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.report import CaptureReport

__all__ = [
    "MAX_STORED_EVENTS",
    "MAX_STORED_KERNEL_OPS",
    "MAX_STORED_SNAPSHOTS",
    "MAX_WATCH_SNAPSHOTS",
    "BridgeStatistics",
    "SnapshotBridge",
    "WatchRefusedError",
    "is_periodic_tag",
]

MAX_WATCH_SNAPSHOTS = 3
"""User watches. x86 has four debug registers; slot 0 is kept for ``scx_root->exit_kind``."""
MAX_STORED_KERNEL_OPS = 1024
"""Kernel-op replies kept between two drains; the oldest goes first and is counted."""

_PERIODIC_TAG = re.compile(r"periodic_[0-9]{3}")


class BridgedRequest(Protocol):
    """A request to read or write kernel memory, as far as the bridge looks at it."""

    @property
    def tag(self) -> str: ...


class BridgedReply(Protocol):
    """Its answer, as far as the bridge looks at it."""

    @property
    def success(self) -> bool: ...
    @property
    def read_values(self) -> Sequence[Any]: ...


class WatchRefusedError(UsageError):
    """A watch could not be registered; its slot is free again."""


class BridgeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a bridge."""

    stored: int
    events: int
    events_dropped: int
    evicted: int
    kernel_ops: int
    kernel_ops_dropped: int
    watches: int


def is_periodic_tag(tag: str) -> bool:
    """Whether ``tag`` is exactly ``periodic_`` and three digits; ``periodic_kaslr`` is a user's own name."""
    return _PERIODIC_TAG.fullmatch(tag) is not None


class SnapshotBridge:
    """Asks for captures and keeps them.

    Args:
        capture: Makes the capture of a tag; None when there is no report, or an error that says why.
        on_event: Told of every bridge event as it happens, besides the log.
    """

    def __init__(
        self,
        capture: Callable[[str], Awaitable[CaptureReport | None]],
        *,
        on_event: Callable[[BridgeEvent], None] | None = None,
    ) -> None:
        self._capture = capture
        self._on_event = on_event
        self._register_watch: Callable[[str], None] | None = None
        self._kernel_op: Callable[[Any], Awaitable[BridgedReply]] | None = None
        self._accessor: AccessorState | None = None
        self._snapshots = Snapshots()
        self._kernel_ops: deque[tuple[str, BridgedReply]] = deque()
        self._kernel_ops_dropped = 0
        self._evicted = 0
        self._watch_count = 0

    def __repr__(self) -> str:
        watch = "<callback>" if self._register_watch else "<none>"
        counts = f"snapshots={len(self)}, watch_count={self.watch_count()}"
        return f"SnapshotBridge({counts}, register_watch={watch})"

    def with_watch_register(self, register: Callable[[str], None]) -> Self:
        """Let watches be registered: ``register`` arms one for a symbol or raises."""
        self._register_watch = register
        return self

    def with_kernel_op(self, callback: Callable[[Any], Awaitable[BridgedReply]]) -> Self:
        """Let kernel memory be read and written through ``callback``."""
        self._kernel_op = callback
        return self

    def with_accessor_state(self, accessor: AccessorState) -> Self:
        """Let the two waits follow the worker that types the guest's memory."""
        self._accessor = accessor
        return self

    # -- captures ----------------------------------------------------------------------------------------

    async def capture(self, name: str) -> bool:
        """Capture and store under ``name``; False (and an event) when no report is available.

        Raises:
            KtstrError: The callback said why there is none; the event is logged all the same.
        """
        return await self._capture_and_store(name, None)

    async def capture_with_step(self, name: str, step_index: int) -> bool:
        """As `capture`, stamped with the scenario's step (0 is the baseline)."""
        return await self._capture_and_store(name, step_index)

    async def _capture_and_store(self, name: str, step_index: int | None) -> bool:
        report = None
        try:
            report = await self._capture(name)
        finally:
            if report is None:
                self._log(CaptureUnavailable(name))
        if report is None:
            return False
        self._store(name, report, None, None, step_index)
        return True

    def store(self, name: str, report: CaptureReport) -> None:
        """Keep a report that was made elsewhere."""
        self._store(name, report, None, None, None)

    def store_with_stats(
        self, name: str, report: CaptureReport, stats: Stats | None, elapsed_ms: int | None
    ) -> None:
        """As `store`, with the scheduler's statistics from just before it and the run's elapsed time."""
        self._store(name, report, stats, elapsed_ms, None)

    def store_with_stats_and_step(
        self, name: str, report: CaptureReport, stats: Stats | None, elapsed_ms: int | None, step_index: int
    ) -> None:
        """As `store_with_stats`, stamped with the scenario's step."""
        self._store(name, report, stats, elapsed_ms, step_index)

    def _store(
        self,
        name: str,
        report: CaptureReport,
        stats: Stats | None,
        elapsed_ms: int | None,
        step_index: int | None,
    ) -> None:
        missing = MissingStats("no scheduler binary")
        event = self._snapshots.store(
            DrainedSnapshot(
                tag=name,
                report=report,
                stats=missing if stats is None else stats,
                elapsed_ms=elapsed_ms,
                step_index=step_index,
            )
        )
        if event is not None:
            self._evicted += isinstance(event, Eviction)
            self._log(event)

    def _log(self, event: BridgeEvent) -> None:
        self._snapshots.push_event(event)
        if self._on_event is not None:
            self._on_event(event)

    def __len__(self) -> int:
        return len(self._snapshots.kept)

    def __bool__(self) -> bool:
        # An empty bridge is still a bridge.
        return True

    def is_empty(self) -> bool:
        """Whether no capture is kept."""
        return len(self) == 0

    def has(self, name: str) -> bool:
        """Whether a report is kept under ``name``: a late placeholder must not replace a real one."""
        return name in self._snapshots.kept

    def periodic_real_count(self) -> int:
        """How many periodic captures carry real state, placeholders left out."""
        return sum(
            is_periodic_tag(tag) and not entry.report.is_placeholder
            for tag, entry in self._snapshots.kept.items()
        )

    # -- the four drains -----------------------------------------------------------------------------------

    def drain(self) -> dict[str, CaptureReport]:
        """Hand out all reports and keep none; statistics, times and steps are dropped."""
        return {entry.tag: entry.report for entry in self._snapshots.take()}

    def drain_ordered(self) -> list[tuple[str, CaptureReport]]:
        """Hand out all reports, the latest of each tag, in the order of their last insertion."""
        return [(entry.tag, entry.report) for entry in self._snapshots.take()]

    def drain_ordered_with_stats(self) -> list[DrainedSnapshot]:
        """Hand out as `drain_ordered`, each with its statistics (or why there are none), time and step."""
        return self._snapshots.take()

    def drain_events(self) -> list[BridgeEvent]:
        """Hand out the event log in order; one `EventLogTruncated` ends it if any event was lost."""
        return self._snapshots.take_events()

    def event_count(self) -> int:
        """Events in the log, without the `EventLogTruncated` that a drain would add."""
        return len(self._snapshots.events)

    # -- watches -------------------------------------------------------------------------------------------

    def register_watch(self, symbol: str) -> None:
        """Arm a watch that captures on every write to ``symbol``.

        The slot is taken before the callback runs, so that callers at the same time never pass the cap, and
        given back however the callback fails.

        Raises:
            WatchRefusedError: All slots are taken, or no callback is there. The callback's own error passes
                through.
        """
        if self._watch_count >= MAX_WATCH_SNAPSHOTS:
            raise WatchRefusedError(
                f"watch {symbol!r}: cap exceeded, all {MAX_WATCH_SNAPSHOTS} user watch slots are taken "
                "(slot 0 is reserved for exit_kind)",
                "remove a watch, or capture at a point in time instead",
            )
        self._watch_count += 1
        try:
            if self._register_watch is None:
                raise WatchRefusedError(
                    f"watch {symbol!r}: no watch-register callback installed on this bridge",
                    "watches need a running machine",
                )
            self._register_watch(symbol)
        except BaseException:
            self.release_watch()
            raise

    def release_watch(self) -> None:
        """Give a slot back."""
        if self._watch_count == 0:
            raise InternalError("a free watch slot was released")
        self._watch_count -= 1

    def watch_count(self) -> int:
        """User watches registered now."""
        return self._watch_count

    # -- kernel operations ---------------------------------------------------------------------------------

    async def dispatch_kernel_op(self, request: BridgedRequest) -> BridgedReply | None:
        """Run a kernel operation and log its reply; None when no callback is installed."""
        if self._kernel_op is None:
            return None
        reply = await self._kernel_op(request)
        self.record_kernel_op_reply(request.tag, reply)
        return reply

    def record_kernel_op_reply(self, tag: str, reply: BridgedReply) -> None:
        """Log the reply of an operation that was run elsewhere (one that came over the wire)."""
        if len(self._kernel_ops) >= MAX_STORED_KERNEL_OPS:
            self._kernel_ops.popleft()
            self._kernel_ops_dropped += 1
        self._kernel_ops.append((tag, reply))

    def drain_kernel_ops(self) -> list[tuple[str, BridgedReply]]:
        """Hand out the replies in order and keep none."""
        replies = list(self._kernel_ops)
        self._kernel_ops.clear()
        return replies

    def kernel_op_value(self, tag: str) -> object | None:
        """First value of the first successful read logged under ``tag``; None without one. Drains nothing."""
        for logged, reply in self._kernel_ops:
            if logged == tag and reply.success and reply.read_values:
                return cast("object", reply.read_values[0])
        return None

    # -- the accessor worker -------------------------------------------------------------------------------

    def accessor_publish_seqno(self) -> int:
        """How often guest memory was (re)opened by type; 0 for a bridge without an accessor."""
        return 0 if self._accessor is None else self._accessor.publish_seqno

    async def wait_for_worker_state_not_trying(self, deadline: float, op_label: str) -> None:
        """Wait for the worker's first publish; returns at once without an accessor. See `AccessorState`."""
        if self._accessor is not None:
            await self._accessor.wait_not_trying(deadline, op_label)

    async def wait_for_accessor_publish_advance(
        self, seqno_before: int, deadline: float, op_label: str
    ) -> int:
        """Wait until the publish number passed ``seqno_before``; 0 at once without an accessor."""
        if self._accessor is None:
            return 0
        return await self._accessor.wait_publish_advance(seqno_before, deadline, op_label)

    # -- the rest ------------------------------------------------------------------------------------------

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        counts = self.statistics()
        return {
            "events-lost": counts.events_dropped,
            "replies-lost": counts.kernel_ops_dropped,
        }

    def statistics(self) -> BridgeStatistics:
        """Counters so far."""
        return BridgeStatistics(
            stored=len(self._snapshots.kept),
            events=len(self._snapshots.events),
            events_dropped=self._snapshots.events_dropped,
            evicted=self._evicted,
            kernel_ops=len(self._kernel_ops),
            kernel_ops_dropped=self._kernel_ops_dropped,
            watches=self._watch_count,
        )
