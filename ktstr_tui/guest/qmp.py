"""QMP, QEMU's control protocol: JSON lines, each command answered under its id, events in between.

One task (`QmpClient.run`) reads everything; commands from any number of tasks wait for their own answers.
Events go to a bounded channel: a consumer that does not keep up loses the newest ones, which are counted, and
never stops the answers from arriving.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio

from ktstr_tui.model.errors import GuestError, InternalError

EVENT_QUEUE_LENGTH = 64
MAX_LINE_BYTES = 16 << 20
DEFAULT_TIMEOUT_S = 10.0
NEGOTIATE = "qmp_capabilities"
"""The command that must be the first: QEMU refuses all others before it."""
GREETING_TIMEOUT_S = 30.0
"""QEMU maps the RAM and loads the kernel before it greets; a loaded host takes its time."""


class QmpError(InternalError):
    """QEMU refused a command of ours.

    Args:
        command: The command.
        error_class: QEMU's class of the error, such as ``CommandNotFound``.
        description: QEMU's text.
    """

    def __init__(self, command: str, error_class: str, description: str) -> None:
        super().__init__(f"QEMU refused {command}: {description} ({error_class})")
        self.command = command
        self.error_class = error_class
        self.description = description


class QmpTimeoutError(GuestError):
    """QEMU did not answer in time."""


class QmpClosedError(GuestError):
    """The connection ended: QEMU is gone."""


class QmpEvent(msgspec.Struct, frozen=True):
    """Something that QEMU tells unasked, such as STOP, RESUME or SHUTDOWN."""

    name: str
    data: dict[str, Any]


class QmpStatistics(msgspec.Struct, frozen=True):
    """Counts since the connection was made."""

    commands: int
    errors: int
    events: int
    events_dropped: int
    """Events that found the queue full."""
    junk_lines: int
    """Lines that were no QMP message, or answers that no caller was waiting for any more."""


class QmpClient:
    """A connection to a monitor.

    ``run`` must be running in some nursery, or use `QmpClient.connect`, which sees to it.

    Args:
        stream: Connected to QEMU; closed by `run` when it ends.
    """

    events: trio.MemoryReceiveChannel[QmpEvent]
    """Events in order; ends when the connection does."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._send_lock = trio.Lock()
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Answer] = {}
        self._ready = trio.Event()
        self._negotiated = trio.Event()
        self._closed = False
        self._post, self.events = trio.open_memory_channel[QmpEvent](EVENT_QUEUE_LENGTH)
        self._commands = self._errors = self._events = self._dropped = self._junk = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, path: Path) -> AsyncIterator[QmpClient]:
        """Connect to a monitor's unix socket; the client works inside the context.

        Raises:
            QmpTimeoutError: Nobody greeted.
            QmpClosedError: The connection ended before the greeting.
        """
        stream = await trio.open_unix_socket(path)
        async with trio.open_nursery() as nursery:
            client = cls(stream)
            nursery.start_soon(client.run)
            await client.wait_ready()
            yield client
            nursery.cancel_scope.cancel()

    async def run(self) -> None:
        """Read until the connection ends; owns the stream."""
        buffer = bytearray()
        try:
            while data := await self._stream.receive_some(65536):
                buffer += data
                *lines, rest = bytes(buffer).split(b"\n")
                buffer = bytearray(rest[-MAX_LINE_BYTES:])
                for line in filter(None, map(bytes.strip, lines)):
                    self._take(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._closed = True
            self._ready.set()
            self._negotiated.set()
            for answer in self._waiting.values():
                answer.arrived.set()
            self._post.close()
            await trio.aclose_forcefully(self._stream)

    async def wait_ready(self, timeout_s: float = GREETING_TIMEOUT_S) -> None:
        """Wait for the greeting and leave negotiation mode.

        Raises:
            QmpTimeoutError: Nobody greeted within ``timeout_s`` seconds.
            QmpClosedError: The connection ended before.
        """
        with trio.move_on_after(timeout_s) as scope:
            await self._ready.wait()
        if scope.cancelled_caught:
            raise QmpTimeoutError(
                f"QEMU's monitor did not greet within {timeout_s:g} s", "is the host overloaded?"
            )
        await self.execute(NEGOTIATE)
        self._negotiated.set()

    async def execute(
        self, command: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, **arguments: object
    ) -> object:
        """Run a command and return what QEMU answers, decoded from JSON; waits until `wait_ready` has come so far.

        Args:
            command: Such as ``query-status``.
            timeout_s: Longest wait in seconds.
            arguments: The command's arguments; an underscore in a name stands for a dash.

        Raises:
            QmpError: QEMU refused it.
            QmpTimeoutError: No answer in time.
            QmpClosedError: QEMU is gone.
        """
        number = next(self._ids)
        request = {"execute": command, "id": number}
        if arguments:
            request["arguments"] = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = self._waiting[number] = _Answer()
        self._commands += 1
        try:
            if command != NEGOTIATE:
                with trio.move_on_after(GREETING_TIMEOUT_S):
                    await self._negotiated.wait()
            with trio.fail_after(timeout_s):
                await self._send(json.dumps(request).encode() + b"\n")
                if not self._closed:
                    await answer.arrived.wait()
        except trio.TooSlowError:
            raise QmpTimeoutError(f"QEMU did not answer {command} within {timeout_s:g} s") from None
        finally:
            del self._waiting[number]
        if answer.message is None:
            raise QmpClosedError(f"QEMU went away before it answered {command}")
        error = answer.message.get("error")
        if error is not None:
            self._errors += 1
            raise QmpError(command, str(error.get("class")), str(error.get("desc")))
        return answer.message.get("return")

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._waiting)

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"qmp-events": self._dropped, "qmp-junk-lines": self._junk}

    def statistics(self) -> QmpStatistics:
        """Counts since the connection was made."""
        return QmpStatistics(self._commands, self._errors, self._events, self._dropped, self._junk)

    async def _send(self, data: bytes) -> None:
        try:
            async with self._send_lock:
                # Half a command would spoil every later one, so sending is not given up in the middle.
                with trio.CancelScope(shield=True, deadline=trio.current_time() + DEFAULT_TIMEOUT_S):
                    await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise QmpClosedError("QEMU went away") from error

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._junk += 1
        elif "QMP" in message:
            self._ready.set()
        elif "event" in message:
            self._take_event(message)
        elif (answer := self._waiting.get(message.get("id", 0))) is not None:
            answer.message = message
            answer.arrived.set()
        else:
            self._junk += 1

    def _take_event(self, message: dict[str, Any]) -> None:
        self._events += 1
        try:
            self._post.send_nowait(QmpEvent(str(message["event"]), message.get("data") or {}))
        except trio.WouldBlock:
            self._dropped += 1


class _Answer:
    __slots__ = ("arrived", "message")

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.message: dict[str, Any] | None = None
