"""Requests to a gdb stub and their answers over one stream.

Requests may be sent in a batch; they are answered in order. A cancelled question leaves its answer in the pipe. The
connection counts how many answers are still to come, and skips those that nobody waits for before it sends the next
question, so cancelling is safe at every point.

Whether the guest runs is not known here: `ktstr_tui.guest.gdb` sends nothing to a running guest but 0x03.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from ktstr_tui.guest.engine import EngineLostError, EngineTimeoutError
from ktstr_tui.guest.gdb_packets import PacketReader, encode

REPLY_TIMEOUT_S = 10.0


class GdbConnection:
    """Sends packets and receives packets.

    Args:
        stream: Connected to QEMU's gdb chardev.
    """

    sent: int
    """Packets sent so far."""
    received: int
    """Packets received so far."""
    skipped: int
    """Answers skipped so far because nobody waits for them any more."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.sent = self.received = self.skipped = 0
        self._stream = stream
        self._reader = PacketReader()
        self._packets: deque[str] = deque()
        self._unanswered = 0

    @property
    def pending(self) -> int:
        """Packets that were received and not taken yet."""
        return len(self._packets)

    @property
    def junk_bytes(self) -> int:
        """Bytes received outside of packets."""
        return self._reader.junk_bytes

    @property
    def bad_checksums(self) -> int:
        """Packets received with a wrong checksum."""
        return self._reader.bad_checksums

    async def ask(self, question: str) -> str:
        """Send a request and return its answer.

        Raises:
            EngineTimeoutError: No answer in time.
            EngineLostError: QEMU is gone.
        """
        with deadline(REPLY_TIMEOUT_S, f"the gdb stub did not answer {question[:20]!r}"):
            await self.post([question])
            return await self.answer()

    async def post(self, questions: Sequence[str]) -> None:
        """Send requests without waiting for their answers, which `answer` returns."""
        with deadline(REPLY_TIMEOUT_S, "the gdb stub did not answer the previous request"):
            await self.skip_unanswered()
        await self.send_questions(questions)

    async def send_questions(self, questions: Sequence[str], before: bytes = b"") -> None:
        """Send requests at once, behind the bytes ``before``; late answers to others are not skipped."""
        self._unanswered += len(questions)
        self.sent += len(questions)
        await self.send_raw(before + b"".join(map(encode, questions)))

    async def send_unanswered(self, command: str, before: bytes = b"") -> None:
        """Send a command that is not answered like a request."""
        self.sent += 1
        await self.send_raw(before + encode(command))

    async def answer(self) -> str:
        """Return the answer to the oldest request that waits for one."""
        answer = await self.receive()
        self._unanswered -= 1
        return answer

    async def skip_unanswered(self) -> None:
        """Wait for the answers that nobody waits for any more, and throw them away."""
        while self._unanswered:
            await self.receive()
            self.skip_one()

    def skip_one(self) -> None:
        """Count a packet that was received and thrown away."""
        self._unanswered -= self._unanswered > 0
        self.skipped += 1

    async def receive(self) -> str:
        """Return the next packet.

        Raises:
            EngineLostError: QEMU is gone.
        """
        while not self._packets:
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise EngineLostError("QEMU went away") from error
            if not data:
                raise EngineLostError("QEMU went away")
            found = self._reader.feed(bytes(data))
            self.received += len(found)
            self._packets.extend(found)
        return self._packets.popleft()

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            EngineTimeoutError: The stub does not read.
            EngineLostError: QEMU is gone.
        """
        try:
            # Half a packet would garble the next one, so sending is not given up in the middle.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + REPLY_TIMEOUT_S) as scope:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise EngineLostError("QEMU went away") from error
        if scope.cancelled_caught:
            raise EngineTimeoutError("the gdb stub does not read")


@contextmanager
def deadline(seconds: float, message: str) -> Iterator[None]:
    """Turn a block that takes too long into an `EngineTimeoutError`."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise EngineTimeoutError(f"{message} within {seconds:g} s", "is the host overloaded?") from None
