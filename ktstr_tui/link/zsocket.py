"""A ZeroMQ socket under trio.

ZeroMQ gives an event loop one file descriptor per socket, ``ZMQ_FD``, and it is a strange one.

It is an *edge*, not a level. It becomes readable when something changed inside the socket (a message came,
room for sending came, a peer came or went), and reading the option ``ZMQ_EVENTS`` makes it quiet again
whether or not anything was received. So 100 messages may sit in the queue behind a quiet descriptor: who
waits first and receives second gets one of them and then sleeps for ever. Hence *try first, wait second*.

It is readable for writers too. Room for sending shows up as readability; the descriptor is never writable in
any sense that means something.

Every call eats the edge, even one that fails. Inside each send and receive the library does what reading
``ZMQ_EVENTS`` does. Take a task that waits for room to send: the peer makes room, the descriptor fires, but
before the task is scheduled another one tries to receive, finds nothing, and has thereby swallowed the news.
So after every call, failed or not, we read ``ZMQ_EVENTS`` ourselves and wake whoever waits for what it says.

Only those. Waking every waiter at any event makes two tasks that wait for room wake each other for ever while
an unread message keeps ``ZMQ_EVENTS`` from being zero. So waiters stand in two queues, one for each
direction.

Only one task may wait for a descriptor in trio. The first waiter becomes the *sentry*, which sleeps at the
descriptor; the others park. A sentry that leaves, for whatever reason, wakes all the others: one of them is
the next sentry. Because the news may be eaten, the sentry sleeps in a cancel scope of its own that others can
cancel.

Waiting to send makes sense on DEALER and PUSH alone. ROUTER and XPUB claim room at all times and then drop or
refuse, so for those there is `send_nowait`, which raises, and the caller counts.

Receives and sends without blocking are atomic, so a cancelled task has either done nothing or returns its
message: cancellation loses nothing. A socket belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TypeVar

import msgspec
import trio
import zmq

_T = TypeVar("_T")
_MAY_WAIT_TO_SEND = (zmq.DEALER, zmq.PUSH)
# Plain numbers: what is done with the library's enumerations at each message costs more than to encode an event.
_POLLIN, _POLLOUT = int(zmq.POLLIN), int(zmq.POLLOUT)
_LAST, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


class LinkStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What one socket did."""

    received: int
    sent: int
    refused: int
    """Messages that could not be sent at once."""
    wakes: int
    """Times a waiting task was woken."""
    waiting: int
    """Tasks that wait right now."""


class TrioSocket:
    """A ZeroMQ socket whose waits are trio's.

    Args:
        context: Owner of the socket; must outlive it.
        kind: Such as ``zmq.ROUTER``.
        high_water: Messages queued for each peer, in each direction.
        max_message_bytes: Peers that send more are cut off; -1 for no bound.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        kind: int,
        *,
        high_water: int = 1000,
        max_message_bytes: int = -1,
    ) -> None:
        self._socket = context.socket(kind)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.SNDHWM, high_water)
        self._socket.set(zmq.RCVHWM, high_water)
        self._socket.set(zmq.MAXMSGSIZE, max_message_bytes)
        self._fd = int(self._socket.get(zmq.FD))
        self._kind = kind
        self._lots = {_POLLIN: trio.lowlevel.ParkingLot(), _POLLOUT: trio.lowlevel.ParkingLot()}
        self._sentry: tuple[int, trio.CancelScope] | None = None
        self._received = self._sent = self._refused = self._wakes = 0

    @property
    def raw(self) -> zmq.Socket[bytes]:
        """The socket itself, for options. Sending or receiving through it would eat edges."""
        return self._socket

    def bind(self, address: str) -> None:
        """Listen at ``address``.

        Raises:
            zmq.ZMQError: That is not possible.
        """
        self._socket.bind(address)

    def connect(self, address: str) -> None:
        """Connect to ``address``; ZeroMQ repeats it for as long as it fails.

        Raises:
            zmq.ZMQError: The address makes no sense.
        """
        self._socket.connect(address)

    async def receive(self) -> list[bytes]:
        """Wait for the next message and return its frames.

        Raises:
            trio.ClosedResourceError: The socket was closed, now or while waiting.
        """
        frames = await self._retry(self._take, _POLLIN)
        self._received += 1
        return frames

    async def receive_from(self) -> tuple[list[bytes], str]:
        """Wait for the next message; what ZeroMQ knows of its sender besides, as it says it (`zmq_msg_gets`).

        Returns:
            The frames, and ``Peer-Address``: for a unix socket ``HOST:UID:GID:PID`` by the kernel's word.

        Raises:
            trio.ClosedResourceError: The socket was closed, now or while waiting.
        """
        frames = await self._retry(lambda: self._socket.recv_multipart(zmq.NOBLOCK, copy=False), _POLLIN)
        self._received += 1
        try:
            address = str(frames[-1].get("Peer-Address"))
        except zmq.ZMQError:
            address = ""
        return [frame.bytes for frame in frames], address

    def receive_nowait(self) -> list[bytes]:
        """The next message's frames.

        Raises:
            trio.WouldBlock: There is none.
            trio.ClosedResourceError: The socket is closed.
        """
        self._require_open()
        try:
            frames = self._take()
        except zmq.Again:
            raise trio.WouldBlock from None
        finally:
            self._pass_on()
        self._received += 1
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        """Wait for room and send one message of ``frames``; only for DEALER and PUSH.

        Raises:
            trio.ClosedResourceError: The socket was closed, now or while waiting.
        """
        if self._kind not in _MAY_WAIT_TO_SEND:
            raise RuntimeError("this kind of socket always claims room: use send_nowait()")
        await self._retry(lambda: self._give(frames), _POLLOUT)
        self._sent += 1

    def send_nowait(self, frames: Sequence[bytes]) -> None:
        """Send one message of ``frames``.

        Raises:
            trio.WouldBlock: There is no room (or, on DEALER and PUSH, no peer).
            trio.ClosedResourceError: The socket is closed.
            zmq.ZMQError: ZeroMQ refuses, such as EHOSTUNREACH of a ROUTER that must know its peer.
        """
        self._require_open()
        try:
            self._give(frames)
        except zmq.Again:
            self._refused += 1
            raise trio.WouldBlock from None
        except zmq.ZMQError:
            self._refused += 1
            raise
        finally:
            self._pass_on()
        self._sent += 1

    def close(self, linger_ms: int = 0) -> None:
        """Close at once; tasks that wait get `trio.ClosedResourceError`.

        Args:
            linger_ms: How long the context may go on delivering what was sent.
        """
        if self._socket.closed:
            return
        if self._sentry is not None:
            trio.lowlevel.notify_closing(self._fd)
        self._socket.close(linger_ms)
        self._wake(_POLLIN | _POLLOUT)

    def __enter__(self) -> TrioSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> LinkStatistics:
        """Counts so far."""
        parked = sum(len(lot) for lot in self._lots.values())
        return LinkStatistics(
            received=self._received,
            sent=self._sent,
            refused=self._refused,
            wakes=self._wakes,
            waiting=parked + (self._sentry is not None),
        )

    def _take(self) -> list[bytes]:
        return self._socket.recv_multipart(zmq.NOBLOCK)

    def _give(self, frames: Sequence[bytes]) -> None:
        for frame in frames[:-1]:
            self._socket.send(frame, _MORE)
        self._socket.send(frames[-1], _LAST)

    def _require_open(self) -> None:
        if self._socket.closed:
            raise trio.ClosedResourceError

    async def _retry(self, operation: Callable[[], _T], wanted: int) -> _T:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            self._require_open()
            try:
                result = operation()
            except zmq.Again:
                if self._pass_on() & wanted:
                    await trio.lowlevel.checkpoint()
                else:
                    await self._wait(wanted)
            else:
                self._pass_on()
                await trio.lowlevel.cancel_shielded_checkpoint()
                return result

    async def _wait(self, wanted: int) -> None:
        if self._sentry is not None:
            await self._lots[wanted].park()
            return
        with trio.CancelScope() as scope:
            self._sentry = wanted, scope
            try:
                await trio.lowlevel.wait_readable(self._fd)
            finally:
                self._sentry = None
                self._wake(_POLLIN | _POLLOUT)

    def _pass_on(self) -> int:
        """Wake those who wait for what the socket is ready for; what that is."""
        if self._socket.closed:
            return 0
        events = int(self._socket.get(zmq.EVENTS))
        if events:
            self._wake(events)
        return events

    def _wake(self, events: int) -> None:
        for direction, lot in self._lots.items():
            if events & direction and lot:
                self._wakes += len(lot)
                lot.unpark_all()
        if self._sentry is not None and events & self._sentry[0]:
            self._wakes += 1
            self._sentry[1].cancel()
