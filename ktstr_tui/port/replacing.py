"""Attach, detach and replace the scheduler of the running guest: the host's end.

An object is announced, sent in pieces, and then asked to take a scheduler's place; the guest program has it verified
while the old scheduler still runs, and answers once. One change is made at a time; others wait for their turn, and
when too many wait, one more is refused. The guest is hostile: an answer that nobody waits for is counted and does
nothing.

The time that an answer may take stands still while the guest does.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator

import msgspec
import trio

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event, SchedulerSwapped
from ktstr_tui.model.scheduler_swap import (
    MAX_LOG_LINES,
    MAX_OBJECT_BYTES,
    Refuser,
    ReplaceOutcome,
    SwapAttached,
    SwapDetached,
    SwapFailed,
    SwapOp,
    SwapRejected,
    SwapStored,
    SwapTimedOut,
)
from ktstr_tui.model.text import printable
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.swaps import SwapWatch
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.payloads import PayloadError
from ktstr_tui.wire.scheduler_payloads import (
    CHUNK_BYTES,
    SchedChunk,
    SchedCommand,
    SchedOp,
    SchedRefuser,
    SchedReply,
    SchedStatus,
    SchedUpload,
)

TIMEOUT_S = 150.0
"""How long the guest may take. It gives up by itself after 60 s of verifying, and 60 s of attaching."""
LOOK_S = 0.05
"""How often the time of a frozen guest is looked at again."""
MAX_WAITING = 8
"""Changes that may wait for their turn."""
_MAX_ID = 0xFFFF_FFFF
_OPS: dict[SwapOp, SchedOp] = {
    "attach": SchedOp.ATTACH,
    "detach": SchedOp.DETACH,
    "replace": SchedOp.REPLACE,
}
_REFUSERS: dict[SchedRefuser, Refuser] = {
    SchedRefuser.LIBBPF: "libbpf",
    SchedRefuser.VERIFIER: "verifier",
    SchedRefuser.KERNEL: "kernel",
}


class SchedulerReplacer:
    """Changes the scheduler of one running guest.

    Args:
        outbox: Takes frames for the guest.
        emit: Takes an event for each change that came to its end.
        frozen_ns: How long the guest has stood so far.
        clock: Host monotonic clock, in nanoseconds.
        swaps: Told of the schedulers that were attached, so that captures wait until they are followed.
        nursery: Where it waits for that.
        timeout_s: How long the guest may take.
    """

    def __init__(
        self,
        outbox: Outbox,
        emit: Callable[[Event], object],
        frozen_ns: Callable[[], int],
        clock: Callable[[], int],
        swaps: SwapWatch,
        nursery: trio.Nursery,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._outbox = outbox
        self._emit = emit
        self._frozen_ns = frozen_ns
        self._clock = clock
        self._swaps = swaps
        self._nursery = nursery
        self._timeout_s = timeout_s
        self._turn = trio.Lock()
        self._last_id = self._awaited = 0
        self._answered = trio.Event()
        self._reply: SchedReply | None = None
        self._unexpected = self._timed_out = self._crowded = 0

    async def replace(self, name: str, data: bytes, *, target: str = "", who: str = "") -> ReplaceOutcome:
        """Load a BPF object in the place of a scheduler.

        Args:
            name: What the object is called, such as the name of its file.
            data: The object.
            target: The scheduler of the scenario that it replaces; empty for the loaded one, or that of the step.
            who: Who asks, for the event.

        Raises:
            UsageError: The object is empty or too large, a name is too long, or too many changes wait already.
        """
        if not 0 < len(data) <= MAX_OBJECT_BYTES:
            raise UsageError(
                f"{name} has {len(data)} bytes; an object for a running guest has 1 to {MAX_OBJECT_BYTES}",
                "strip what the kernel does not need: llvm-strip -g keeps the BTF",
            )
        digest = hashlib.sha256(data).hexdigest()
        event = SchedulerSwapped(
            op="replace",
            name=name,
            replaces=target,
            who=who,
            size_bytes=len(data),
            digest=digest,
            outcome=SwapTimedOut(took_ms=0),
        )
        return await self._change(event, data)

    async def attach(self, target: str = "", *, who: str = "") -> ReplaceOutcome:
        """Load a scheduler of the scenario; empty for that of the step.

        Raises:
            UsageError: The name is too long, or too many changes wait already.
        """
        event = SchedulerSwapped(op="attach", replaces=target, who=who, outcome=SwapTimedOut(took_ms=0))
        return await self._change(event, None)

    async def detach(self, *, who: str = "") -> ReplaceOutcome:
        """Take the loaded scheduler away.

        Raises:
            UsageError: Too many changes wait already.
        """
        return await self._change(
            SchedulerSwapped(op="detach", who=who, outcome=SwapTimedOut(took_ms=0)), None
        )

    def answered(self, reply: SchedReply) -> None:
        """Take an answer of the guest."""
        if reply.request_id != self._awaited:
            self._unexpected += 1
            return
        self._awaited = 0
        self._reply = reply
        self._answered.set()

    def drops(self) -> dict[str, int]:
        """Return the changes and answers that came to nothing, by reason."""
        return {
            "scheduler-answers-unexpected": self._unexpected,
            "scheduler-changes-timed-out": self._timed_out,
            "scheduler-changes-refused": self._crowded,
        }

    async def _change(self, event: SchedulerSwapped, data: bytes | None) -> ReplaceOutcome:
        if self._turn.statistics().tasks_waiting >= MAX_WAITING:
            self._crowded += 1
            raise UsageError(f"{MAX_WAITING} changes of the scheduler wait already", "try again later")
        async with self._turn:
            return await self._change_now(event, data)

    async def _change_now(self, event: SchedulerSwapped, data: bytes | None) -> ReplaceOutcome:
        number = self._last_id = self._last_id % _MAX_ID + 1
        command = SchedCommand(number, _OPS[event.op], event.replaces)
        upload = None if data is None else SchedUpload(number, zlib.crc32(data), len(data), event.name)
        try:
            frames = [(MsgType.SchedCommand, command.pack())]
            if upload is not None:
                frames.insert(0, (MsgType.SchedUpload, upload.pack()))
        except PayloadError as error:
            raise UsageError(f"the guest does not take this: {error.reason}", "use a shorter name") from error
        since_ns, prior = self._clock(), self._swaps.publish_number()
        self._reply, self._answered, self._awaited = None, trio.Event(), number
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._give_up_late, nursery.cancel_scope)
                for kind, payload in _with_pieces(frames, number, data or b""):
                    await self._outbox.send(kind, payload)
                await self._answered.wait()
                nursery.cancel_scope.cancel()
        finally:
            if self._reply is None:
                self._awaited = 0
                self._outbox.reply(MsgType.SchedCommand, SchedCommand(number, SchedOp.CANCEL).pack())
        outcome = self._outcome((self._clock() - since_ns) / 1e6)
        if isinstance(outcome, SwapAttached):
            self._swaps.replaced(event.name or event.replaces, prior, self._nursery)
        self._emit(msgspec.structs.replace(event, outcome=outcome))
        return outcome

    async def _give_up_late(self, waiting: trio.CancelScope) -> None:
        since_ns, stood_ns = self._clock(), self._frozen_ns()
        while True:
            spent_ns = self._clock() - since_ns - (self._frozen_ns() - stood_ns)
            left_s = self._timeout_s - spent_ns / 1e9
            if left_s <= 0:
                break
            await trio.sleep(max(left_s, LOOK_S))
        waiting.cancel()

    def _outcome(self, took_ms: float) -> ReplaceOutcome:
        reply = self._reply
        if reply is None:
            self._timed_out += 1
            return SwapTimedOut(took_ms=took_ms)
        loaded, reason = printable(reply.ops) if reply.loaded else "", printable(reply.reason)
        log = tuple(printable(line) for line in reply.log.splitlines()[-MAX_LOG_LINES:])
        match reply.status:
            case SchedStatus.ATTACHED:
                return SwapAttached(took_ms=took_ms, loaded=loaded, enable_seq=reply.enable_seq)
            case SchedStatus.STORED:
                return SwapStored(took_ms=took_ms, loaded=loaded)
            case SchedStatus.DETACHED:
                return SwapDetached(took_ms=took_ms)
            case SchedStatus.REJECTED:
                by = _REFUSERS.get(reply.refuser, "program")
                return SwapRejected(took_ms=took_ms, by=by, reason=reason, log=log, loaded=loaded)
        return SwapFailed(took_ms=took_ms, reason=reason, log=log, loaded=loaded)


def _with_pieces(
    frames: list[tuple[MsgType, bytes]], number: int, data: bytes
) -> Iterator[tuple[MsgType, bytes]]:
    *before, last = frames
    yield from before
    for at in range(0, len(data), CHUNK_BYTES):
        yield MsgType.SchedChunk, SchedChunk(number, at, data[at : at + CHUNK_BYTES]).pack()
    yield last
