"""Stations: instants of guest time at which a deterministic machine is held and the host may speak.

What the guest has sent by then was taken, whatever it waits for is answered, and what the host has to say is written
and swallowed before the machine goes on. So each byte reaches the guest at an instruction that is known and written
down (`Given`), and not at a moment that the host's clock decides.

How many bytes come in each of the guest's buffers decides as well what the guest does with them. QEMU fills a buffer
with whatever has arrived by then, so no more than a buffer's worth is written before QEMU has taken what was written
last.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import termios
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import trio

from ktstr_tui.guest.guest_time import come_to_rest

RECEIVE_BYTES = 65536
PATIENCE_S = 20.0
"""Longest wait for an answer that the guest waits for; then the machine goes on without it."""
SWALLOW_ROUNDS = 5
"""Questions to QEMU's monitor until its main loop has surely taken what was written before them."""
BUFFER_BYTES = 4096
"""QEMU takes at most so much at a time, and so much fits into a buffer of the guest's port, which has 128."""
MOST_BUFFERS = 16
"""Of one stream at one station. The rest waits for the next one, or it would reach the guest whenever it has room."""


class Given(msgspec.Struct, frozen=True):
    """Bytes that a guest was given."""

    instructions: int
    """Executed by all vCPUs before."""
    port: str
    data: bytes


class Stations:
    """What happens at the stations of one machine.

    Args:
        ask_monitor: Asks QEMU's monitor something that changes nothing.
        busy: Whether the monitor has not answered somebody yet.
    """

    def __init__(
        self, ask_monitor: Callable[[], Awaitable[object]], busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._busy = busy
        self.settle: Callable[[], Awaitable[None]] | None = None
        """Waits until what the guest has sent was taken and what it waits for is answered; None for neither."""
        self.pull: Callable[[], bytes] = bytes
        """Returns what is to be given on the bulk port, beside what `StationedStream.send_all` was told."""
        self.on_given: Callable[[Given], object] = lambda _: None
        """Takes what the guest was given."""
        self.at_station: Callable[[], object] = lambda: None
        """Called at each station, when what the guest has sent was taken and before it is given anything."""
        self.pace: Callable[[], Awaitable[None]] | None = None
        """Waits until the time of a station has come on the host's clock; None for a guest that need not wait."""
        self.note_time: Callable[[], object] = lambda: None
        """Called first at each hold of the machine, at a station or not."""
        self.tell_time: Callable[[], Awaitable[None]] | None = None
        """Wakes whoever waited for this instant of the guest's time; None when nobody does."""
        self.late = 0
        """Stations at which an answer was not there in time, so that the guest's future depends on the host."""
        self.visited = 0
        self.last = 0
        """Instructions executed before the newest one."""
        self.visiting = False
        """Whether the machine is held at one."""
        self.bulk: trio.SocketStream | None = None
        """Where `pull` goes."""
        self._ask_monitor = ask_monitor
        self._waiting: deque[tuple[str, trio.SocketStream, bytes, trio.Event]] = deque()
        self._held = trio.Event()
        self._begun = trio.Event()
        self._begun.set()
        self._over = False
        self._readers: set[trio.CancelScope] = set()

    def drops(self) -> dict[str, int]:
        """Return the answers that were not there in time."""
        return {"answers-late": self.late}

    async def visit(self, instructions: int) -> None:
        """Do what is to be done while the machine is held.

        Args:
            instructions: Executed by all vCPUs so far.
        """
        self.visited += 1
        self.last, self.visiting = instructions, True
        try:
            await self._visit(instructions)
        finally:
            self.visiting = False
            self._part()

    def gate(self) -> None:
        """Have the next station last until `begin`: a guest that goes on from a saved boot waits for its host."""
        self._begun = trio.Event()

    def begin(self) -> None:
        """Whoever looks at the guest is there: let it go on."""
        self._begun.set()

    async def rest(self) -> None:
        """Return when all that was set going has come to rest."""
        await come_to_rest(self._busy)

    async def hear(self) -> None:
        """Take what the guest has sent, while the machine is held between two stations."""
        try:
            self.note_time()
            self._held.set()
            with trio.move_on_after(PATIENCE_S):
                await self.rest()
        finally:
            self._part()

    async def wait_held(self) -> None:
        """Wait until what the guest has sent may be taken: while the machine is held, or when it is gone."""
        while not self._held.is_set():
            await self._held.wait()

    def end(self) -> None:
        """The machine is gone: whatever it has sent may be taken."""
        self._over = True
        self._held.set()

    @property
    def over(self) -> bool:
        """Whether the machine is gone."""
        return self._over

    async def wait_readable(self, sock: trio.socket.SocketType) -> None:
        """Wait until there is something to take, but no longer than the machine is held."""
        with trio.CancelScope() as scope:
            self._readers.add(scope)
            try:
                await trio.lowlevel.wait_readable(sock)
            finally:
                self._readers.discard(scope)

    def _part(self) -> None:
        if self._over:
            return
        self._held = trio.Event()
        for scope in self._readers:
            scope.cancel()

    async def _visit(self, instructions: int) -> None:
        given: dict[trio.SocketStream, int] = {}
        await self._begun.wait()
        if self.pace is not None:
            await self.pace()
        self.note_time()
        await self._settled()
        self.at_station()
        if self.tell_time is not None:
            await self.tell_time()
        while self.bulk is None or given.get(self.bulk, 0) < MOST_BUFFERS:
            data = self.pull()
            if data and self.bulk is not None:
                self._waiting.append(("bulk", self.bulk, data, trio.Event()))
            if not self._waiting:
                break
            while self._waiting:
                entry = self._waiting.popleft()
                await self._write(instructions, *entry)
                given[entry[1]] = given.get(entry[1], 0) + -(-len(entry[2]) // BUFFER_BYTES)
            await self._settled()
        for stream in given:
            await self.swallowed(stream)

    async def swallowed(self, stream: trio.SocketStream) -> None:
        """Wait until QEMU has taken what was written to a stream; what the guest has no room for is late."""
        await self._taken(stream)
        self.late += unread_bytes(stream) > 0
        for _ in range(SWALLOW_ROUNDS):
            await self._ask_monitor()

    async def _taken(self, stream: trio.SocketStream) -> None:
        for _ in range(SWALLOW_ROUNDS):
            if not unread_bytes(stream):
                break
            await self._ask_monitor()

    async def _settled(self) -> None:
        self._held.set()
        with trio.move_on_after(PATIENCE_S) as scope:
            if self.settle is not None:
                await self.settle()
            await self.rest()
        self.late += scope.cancelled_caught

    async def _write(
        self, instructions: int, port: str, stream: trio.SocketStream, data: bytes, done: trio.Event
    ) -> None:
        done.set()
        # A port that is closed is noticed by those who read it.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for start in range(0, len(data), BUFFER_BYTES):
                await self._taken(stream)
                await stream.send_all(data[start : start + BUFFER_BYTES])
            self.on_given(Given(instructions, port, data))

    async def give(self, port: str, stream: trio.SocketStream, data: bytes) -> None:
        """Give bytes to the guest at the next station; returns when that begins."""
        entry = (port, stream, data, trio.Event())
        self._waiting.append(entry)
        try:
            await entry[3].wait()
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)


def unread_bytes(stream: trio.SocketStream) -> int:
    """How much the other end of a socket has not taken yet; 0 when it is all taken or the socket is gone."""
    try:
        left = fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return 0
    size: int = struct.unpack("i", left)[0]
    return size


def stream_of(end: socket.socket) -> trio.SocketStream:
    """A stream over one end of a socket pair."""
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


class StationedStream(trio.abc.Stream):
    """Our end of a port of the guest; what is sent waits for a station.

    Args:
        stations: Those of the machine.
        port: Its name, for what is written down.
        end: Our end.
    """

    def __init__(self, stations: Stations, port: str, end: socket.socket) -> None:
        self._stations = stations
        self._port = port
        self.stream = stream_of(end)
        self._receiving = False
        self._digest = hashlib.sha256()
        self.received_bytes = 0

    @property
    def received_sha256(self) -> str:
        """Of all bytes that were taken so far."""
        return self._digest.copy().hexdigest()

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket below."""
        return self.stream.socket

    @property
    def drained(self) -> bool:
        """Whether somebody waits for bytes and none are left."""
        left = fcntl.ioctl(self.socket.fileno(), termios.FIONREAD, b"\0" * 4)
        return self._receiving and not struct.unpack("i", left)[0]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Give bytes to the guest at the next station."""
        await self._stations.give(self._port, self.stream, bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: a station takes what there is."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Take what the guest has sent."""
        while True:
            # Between two stations nothing is taken: when it came then would be the host's doing.
            await self._stations.wait_held()
            try:
                data = os.read(self.socket.fileno(), max_bytes or RECEIVE_BYTES)
            except BlockingIOError:
                await self._wait_for_more()
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            else:
                self._digest.update(data)
                self.received_bytes += len(data)
                return data

    async def _wait_for_more(self) -> None:
        self._receiving = True
        try:
            await self._stations.wait_readable(self.socket)
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """Close our end."""
        await self.stream.aclose()
