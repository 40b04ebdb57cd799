"""The backend's end of the link: publishes the stream, answers viewers, and cannot be hurt by them.

Events leave through an XPUB socket at the moment they are emitted. A viewer that does not read fills its own
queue inside ZeroMQ and then loses its own events; it will see the hole in the numbers and ask for the range.
The socket that answers is a ROUTER that must know its peer: an answer to somebody who left or does not read
is refused at once and counted, and no caller waits. What touches the run goes to ``handle_command`` in a task of
its own, so a capture that takes a second holds up no snapshot.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import msgspec
import trio
import zmq

from ktstr_tui.link import framing
from ktstr_tui.link.event_batches import EventBatches
from ktstr_tui.link.operator import peer_of
from ktstr_tui.link.publisher_statistics import PublisherStatistics
from ktstr_tui.link.status import status_of
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.trace_on_demand import without_trace
from ktstr_tui.link.zsocket import TrioSocket
from ktstr_tui.model.commands import (
    LINK_REQUESTS,
    Command,
    GetRange,
    GetSnapshot,
    GetStatus,
    Ping,
    Reply,
    failed_reply,
)
from ktstr_tui.model.errors import HostError, InternalError, KtstrError, RefusedError, UsageError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.text import shorten
from ktstr_tui.wire.codec import (
    MAX_COMMAND_BYTES,
    CodecError,
    VersionError,
    decode_command,
    decode_command_id,
    encode_reply,
    encode_state,
)
from ktstr_tui.wire.layout import layout

HandleCommand: TypeAlias = Callable[[Command], Awaitable[Reply]]
OnRefused: TypeAlias = Callable[[Command, RefusedError], None]

EVENTS_HIGH_WATER = 1000
"""Messages that may wait for one viewer before it starts to lose some; each holds an event or a batch of them."""
CONTROL_HIGH_WATER = 32
"""Answers that may wait for one viewer; snapshots can be large."""
MAX_COMMANDS_AT_ONCE = 8
FAREWELL_MS = 300
"""How long the last events may take to reach viewers after the run."""
MAX_VIEWERS_TRACKED = 1024
MAX_DEFECT_CHARACTERS = 1000
"""Of the text of an error that nobody foresaw; it may quote what was asked."""


@asynccontextmanager
async def open_publisher(
    stream: Stream,
    socket_dir: Path,
    handle_command: HandleCommand,
    *,
    may_control: bool = True,
    controllers: tuple[str, ...] | None = None,
    refused: OnRefused = lambda command, error: None,
) -> AsyncIterator[Publisher]:
    """Publish ``stream`` on two unix sockets and answer requests for as long as the context lasts.

    Args:
        stream: What to publish.
        socket_dir: Where the sockets are made (mode 0600); its mode is set to 0700.
        handle_command: Carries out what touches the run. It may be called several times at once; a `KtstrError` that
            it raises becomes the answer.
        may_control: Whether viewers may send commands at all; each reply says so.
        controllers: The operators whose signature the run wants; None when it wants none.
        refused: Told of commands that never get to ``handle_command``.

    Raises:
        HostError: The sockets cannot be made.
    """
    paths = framing.socket_pair((socket_dir / framing.EVENTS_SOCKET, socket_dir / framing.CONTROL_SOCKET))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    events = TrioSocket(context, zmq.XPUB, high_water=EVENTS_HIGH_WATER, max_message_bytes=256)
    control = TrioSocket(
        context, zmq.ROUTER, high_water=CONTROL_HIGH_WATER, max_message_bytes=MAX_COMMAND_BYTES
    )
    control.raw.set(zmq.ROUTER_MANDATORY, 1)
    publisher = Publisher(
        stream,
        handle_command,
        events,
        control,
        may_control=may_control,
        controllers=controllers,
        refused=refused,
    )
    try:
        _bind(socket_dir, ((events, paths[0]), (control, paths[1])))
        stream.add_sink(publisher.publish)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            yield publisher
            nursery.cancel_scope.cancel()
    finally:
        stream.remove_sink(publisher.publish)
        publisher.flush()
        for socket in (events, control):
            socket.close(FAREWELL_MS)
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()
        # term() waits for the farewell, so it must not run in the loop.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(context.term)


def _bind(socket_dir: Path, sockets: Iterable[tuple[TrioSocket, Path]]) -> None:
    try:
        socket_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket_dir.chmod(0o700)
        for socket, path in sockets:
            socket.bind(framing.endpoint(path))
            path.chmod(0o600)
    except (OSError, zmq.ZMQError) as error:
        raise HostError(
            f"cannot open the run's sockets in {socket_dir}: {error.strerror}",
            "check that XDG_RUNTIME_DIR is a writable directory of yours",
        ) from error


class Publisher:
    """Publishes a stream and answers requests; made by `open_publisher`.

    Args:
        stream: What to publish.
        handle_command: Carries out what touches the run.
        events: The bound XPUB socket.
        control: The bound ROUTER socket.
        may_control: Whether viewers may control the run.
        controllers: The operators whose signature it wants; None for none.
        refused: Told of commands that never get that far.
    """

    def __init__(
        self,
        stream: Stream,
        handle_command: HandleCommand,
        events: TrioSocket,
        control: TrioSocket,
        *,
        may_control: bool,
        controllers: tuple[str, ...] | None,
        refused: OnRefused,
    ) -> None:
        self._stream = stream
        self._batches = EventBatches(events, stream.run_id.encode())
        self._handle = handle_command
        self._may_control = may_control
        self._controllers = controllers
        self._refused_command = refused
        self._events = events
        self._control = control
        self._viewers: set[bytes] = set()
        self._viewers_changed = trio.Event()
        self._missing: dict[bytes, int] = {}
        self._pings: Counter[bytes] = Counter()
        self._lag_ms: dict[bytes, int] = {}
        self._snapshots: dict[bool, tuple[int, bytes]] = {}
        self._busy = 0
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()

    async def run(self) -> None:
        """Answer requests until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._batches.run)
            nursery.start_soon(self._watch_viewers)
            nursery.start_soon(self._serve, nursery)

    async def wait_viewers(self, count: int) -> None:
        """Wait until ``count`` viewers are connected."""
        while len(self._viewers) != count:
            await self._viewers_changed.wait()

    def pings(self, viewer: str) -> int:
        """How often the viewer of a topic has pinged since it came; 0 for one that is not connected."""
        return self._pings[viewer.encode(errors="replace")]

    def drops(self) -> dict[str, int]:
        """Return what could not be sent, what made no sense, and what viewers missed, by reason."""
        return {
            **self._batches.drops(),
            **{f"not-sent: {reason}": count for reason, count in self._refused.items()},
            **{f"bad-request: {reason}": count for reason, count in self._bad.items()},
            "events-missed-by-viewers": self._counts["missing"],
        }

    def statistics(self) -> PublisherStatistics:
        """Counts so far."""
        return PublisherStatistics(
            viewers=len(self._viewers),
            sent=self._batches.sent,
            sent_bytes=self._batches.sent_bytes,
            requests=self._counts["requests"],
            snapshots=self._counts["snapshots"],
            ranges=self._counts["ranges"],
            refused={**self._batches.refused, **self._refused},
            bad_requests=dict(self._bad),
            failed_commands=self._counts["failed"],
            lag_ms=max(self._lag_ms.values(), default=None),
            reported_missing=self._counts["missing"],
        )

    def publish(self, event: Event, data: bytes) -> None:
        """Send one event to all viewers; what ZeroMQ does not take is counted."""
        self._batches.add(event, data)

    def flush(self) -> None:
        """Send what waits for the end of this turn of the loop."""
        self._batches.flush()

    async def _watch_viewers(self) -> None:
        """Each viewer subscribes to a topic of its own; ZeroMQ says when that comes and goes."""
        while True:
            frame = (await self._events.receive())[0]
            joined, topic = frame[:1] == b"\x01", frame[1:]
            if not topic.startswith(framing.VIEWER_TOPIC):
                continue
            if not joined:
                self._viewers.discard(topic)
                self._missing.pop(topic, None)
                self._pings.pop(topic, None)
                self._lag_ms.pop(topic, None)
            elif len(self._viewers) < MAX_VIEWERS_TRACKED:
                self._viewers.add(topic)
            self._viewers_changed.set()
            self._viewers_changed = trio.Event()

    async def _serve(self, nursery: trio.Nursery) -> None:
        while True:
            (peer, *frames), address = await self._control.receive_from()
            self._counts["requests"] += 1
            if len(frames) != 1:
                self._bad["not one frame"] += 1
                continue
            try:
                command = decode_command(frames[0])
            except CodecError as error:
                self._refuse(peer, frames[0], error)
                continue
            command = msgspec.structs.replace(command, peer=peer_of(address))
            if isinstance(command.request, LINK_REQUESTS):
                self._answer_safely(peer, command)
            elif self._busy >= MAX_COMMANDS_AT_ONCE:
                self._bad["too many at once"] += 1
                text = f"{self._busy} commands are already in progress: {command.name} is refused"
                busy = RefusedError(text, "try again later", "busy")
                self._refused_command(command, busy)
                self._reply(peer, command.failed(busy))
            else:
                self._busy += 1
                nursery.start_soon(self._carry_out, peer, command)

    def _refuse(self, peer: bytes, data: bytes, error: CodecError) -> None:
        id_ = decode_command_id(data)
        skewed = isinstance(error, VersionError) and id_ is not None
        kind = "undecodable" if id_ is None else "another version" if skewed else "no such request"
        self._bad[kind] += 1
        if skewed and self._bad[kind] == 1:
            text = f"a viewer of another version of ktstr-tui cannot attach: {error.message}"
            self._stream.emit(Logged(severity="warning", source="link", text=text))
        if id_ is not None:
            self._reply(peer, failed_reply(id_, UsageError(error.message, error.hint)))

    async def _carry_out(self, peer: bytes, command: Command) -> None:
        try:
            reply = await self._handle(command)
        except KtstrError as error:
            reply = command.failed(error)
        except Exception as error:
            reply = self._failed_by_defect(command, error)
        finally:
            self._busy -= 1
        if reply.error is not None:
            self._counts["failed"] += 1
        self._reply(peer, msgspec.structs.replace(reply, id=command.id))

    def _failed_by_defect(self, command: Command, error: Exception) -> Reply:
        """Log a defect behind one command: it must not end a run that may have lasted for days."""
        text = shorten(f"{command.name} failed: {type(error).__name__}: {error}", MAX_DEFECT_CHARACTERS)
        self._stream.emit(Logged(severity="error", source="command", text=text))
        return command.failed(InternalError(text, "please report it"))

    def _answer_safely(self, peer: bytes, command: Command) -> None:
        try:
            self._answer(peer, command)
        except KtstrError as error:
            self._counts["failed"] += 1
            self._reply(peer, command.failed(error))
        except Exception as error:
            self._counts["failed"] += 1
            self._reply(peer, self._failed_by_defect(command, error))

    def _answer(self, peer: bytes, command: Command) -> None:
        result: dict[str, object] = {}
        attachments: list[bytes] = []
        match command.request:
            case Ping() as ping:
                self._note_ping(ping)
            case GetStatus():
                result = {**status_of(self._stream.state)}
            case GetSnapshot(trace=trace):
                result, attachments = self._snapshot_now(trace=trace)
            case GetRange(first=first, last=last):
                result, attachments = self._range(first, last)
        self._reply(peer, Reply(id=command.id, result=result), attachments)

    def _reply(self, peer: bytes, reply: Reply, attachments: list[bytes] | None = None) -> None:
        stamped = msgspec.structs.replace(
            reply,
            run_id=self._stream.run_id,
            seq=self._stream.state.seq,
            mono_ns=self._stream.now_ns(),
            may_control=self._may_control,
            controllers=self._controllers,
            layout=layout(),
        )
        try:
            data = encode_reply(stamped)
        except CodecError as error:
            self._refused["reply: unencodable"] += 1
            # The error quotes the value, which may be what could not be encoded.
            reason = CodecError(error.message.encode(errors="replace").decode()[:MAX_DEFECT_CHARACTERS])
            failure = failed_reply(reply.id, reason).error
            data = encode_reply(msgspec.structs.replace(stamped, result={}, error=failure))
        # It says how far the stream is: what it counts is on its way before it.
        self.flush()
        try:
            self._control.send_nowait([peer, data, *(attachments or [])])
        except trio.WouldBlock:
            self._refused["reply: full"] += 1
        except zmq.ZMQError as error:
            gone = error.errno == errno.EHOSTUNREACH
            self._refused["reply: gone" if gone else f"reply: {error.strerror}"] += 1

    def _note_ping(self, ping: Ping) -> None:
        topic, missing = ping.topic.encode(errors="replace"), ping.missing
        if topic in self._viewers:
            self._pings[topic] += 1
            # Nobody can have missed more than there was, and no sum of it leaves 64 bits.
            missing = min(missing, self._stream.state.seq)
            self._counts["missing"] += max(0, missing - self._missing.get(topic, 0))
            self._missing[topic] = missing
            if ping.lag_ms is not None:
                self._lag_ms[topic] = ping.lag_ms

    def _snapshot_now(self, *, trace: bool) -> tuple[dict[str, object], list[bytes]]:
        state, made = self._stream.state, self._snapshots.get(trace)
        if made is None or made[0] != state.seq:
            made = state.seq, encode_state(state if trace else without_trace(state))
            self._snapshots[trace] = made
        self._counts["snapshots"] += 1
        return {"seq": state.seq}, [made[1]]

    def _range(self, first: int, last: int) -> tuple[dict[str, object], list[bytes]]:
        oldest = self._stream.statistics().recent_first_seq or 1
        found = self._stream.recent(
            first, last, max_events=framing.MAX_RANGE_EVENTS, max_bytes=framing.MAX_RANGE_BYTES
        )
        self._counts["ranges"] += 1
        return {"first": max(first, oldest), "oldest": oldest, "count": len(found)}, found
