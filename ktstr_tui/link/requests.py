"""Asking a backend, under asyncio: requests out, replies back to whoever asked.

Nothing is queued for a backend that is not there. A command that waited in a queue would be carried out
minutes later by a backend that came back, when nobody wants it any more; so it fails at once instead.
"""

from __future__ import annotations

import asyncio

import msgspec
import zmq
import zmq.asyncio

from ktstr_tui.model.commands import Command, Reply, Request
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.model.signing import Signed
from ktstr_tui.wire.codec import MAX_STATE_BYTES, CodecError, VersionError, decode_reply, encode_command
from ktstr_tui.wire.layout import layout

CONNECT_WAIT_MS = 1000
"""How long a request waits for a connection that is being made."""


class RequestStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked."""

    sent: int
    answered: int
    timeouts: int
    lost: int
    """Requests whose connection broke before the answer."""
    stray: int
    """Answers that no caller was waiting for any more, or that could not be read."""


class Requests:
    """The DEALER of a viewer.

    Args:
        context: Makes the socket.
        viewer: Name to ask under.
        topic: The viewer's own topic on the events socket.
    """

    def __init__(self, context: zmq.asyncio.Context, viewer: str, topic: str = "") -> None:
        self._viewer, self._topic = viewer, topic
        self.socket: zmq.asyncio.Socket = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.IMMEDIATE, 1)
        self.socket.set(zmq.RECONNECT_IVL, 100)
        self.socket.set(zmq.MAXMSGSIZE, MAX_STATE_BYTES + 4096)
        self._waiting: dict[int, asyncio.Future[tuple[Reply, list[bytes]]]] = {}
        self._next_id = 1
        self.skew: UsageError | None = None
        """Set when the backend turned out to be of another version, until a reply can be read."""
        self._sent = self._answered = self._timeouts = self._lost = self._stray = 0

    async def receive(self) -> None:
        """Hand replies to those who wait for them, until cancelled."""
        while True:
            first, *attachments = await self.socket.recv_multipart()
            try:
                reply = decode_reply(first)
            except CodecError as error:
                self._stray += 1
                if isinstance(error, VersionError):
                    self._refuse(error)
                continue
            self.skew = None
            future = self._waiting.pop(reply.id, None)
            if future is None or future.done():
                self._stray += 1
            else:
                future.set_result((reply, attachments))

    async def ask(
        self, request: Request, timeout_s: float, signed: Signed | None = None
    ) -> tuple[Reply, list[bytes]]:
        """Make a request; every failure comes back as a failed reply.

        Args:
            request: What to ask.
            timeout_s: How long to wait for the answer.
            signed: Who vouches for it.

        Returns:
            The reply, and the frames that came with it.
        """
        command = Command(
            id=self._next_id,
            request=request,
            viewer=self._viewer,
            layout=layout(),
            topic=self._topic,
            signed=signed,
        )
        self._next_id += 1
        future: asyncio.Future[tuple[Reply, list[bytes]]] = asyncio.get_running_loop().create_future()
        self._waiting[command.id] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(_encoded(command))
                self._sent += 1
                reply, attachments = await future
        except TimeoutError:
            self._timeouts += 1
            return command.failed(_no_answer(request.name, timeout_s)), []
        except KtstrError as error:
            return command.failed(error), []
        finally:
            self._waiting.pop(command.id, None)
        self._answered += 1
        return reply, attachments

    def _refuse(self, error: VersionError) -> None:
        """Fail everything that waits: nothing from a backend of another version can be read."""
        self.skew = UsageError(f"the run is of another version of ktstr-tui: {error.message}", error.hint)
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(self.skew)

    def connection_lost(self) -> None:
        """Fail everything that waits: the answer cannot come any more."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                self._lost += 1
                future.set_exception(
                    HostError(
                        "the connection broke before the reply arrived", "the command may have been executed"
                    )
                )

    def statistics(self) -> RequestStatistics:
        """Counts so far."""
        return RequestStatistics(
            sent=self._sent,
            answered=self._answered,
            timeouts=self._timeouts,
            lost=self._lost,
            stray=self._stray,
        )

    async def _send(self, data: bytes) -> None:
        # Without a peer poll() waits; with one it returns at once.
        # The stub of this method lacks its second argument.
        if not await self.socket.poll(CONNECT_WAIT_MS, zmq.POLLOUT):  # type: ignore[call-arg]
            raise HostError("the backend is not connected", "is the run still in progress?  ktstr-tui status")
        try:
            await self.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            raise HostError("the backend accepts no requests at the moment", "try again") from None


def _encoded(command: Command) -> bytes:
    """A command as bytes.

    Raises:
        UsageError: It asks for too much: it has a number of more than 64 bits, or is too long.
        CodecError: It holds what no command may hold, which is a defect of whoever made it.
    """
    try:
        return encode_command(command)
    except CodecError as error:
        if not isinstance(error.__cause__, OverflowError | None):
            raise
        hint = "numbers have at most 64 bits, and the whole request has a limit"
        raise UsageError(f"{command.name} cannot be sent: {error.message}", hint) from error


def _no_answer(name: str, timeout_s: float) -> HostError:
    return HostError(
        f"no answer to {name!r} within {timeout_s:g} s", "is the run still in progress?  ktstr-tui status"
    )
