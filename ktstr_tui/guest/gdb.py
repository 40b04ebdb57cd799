"""A client of QEMU's gdb stub: stop all vCPUs, read registers and memory, set write watchpoints, go on.

Facts about the stub that shape this file:

* It is all-stop. **While the guest runs, any byte that arrives stops it and is thrown away**, so nothing but
  0x03 may be sent then. While it stands, 0x03 is noise between packets and ignored.
* After ``vCont;c`` there is no reply until the next stop. So the order is simple: running, only a stop reply
  can arrive; standing, only answers to what was asked.
* ``stop`` races with watchpoints. When the watch wins, its stop reply is the one that arrives and our 0x03
  falls on a standing guest: one reply, never two. When 0x03 wins by less than the time QEMU needs to leave
  its main loop, the reply says SIGINT and the watch is not told. So after *any* stop, look at the watched
  value itself.
* QEMU before 8.1 queues a stop reply when the guest stops for whatever reason, also when nobody asked. During
  connecting those are discarded until the answer to ``QStartNoAckMode`` comes.
* Older stubs (7.2) know no ``QStartNoAckMode`` and want each reply acknowledged; the ``$`` of the next request
  counts as that, so nothing is ever sent only to acknowledge.
* Requests may be sent in a batch; they are answered in order. They may follow 0x03 in the same write: QEMU
  stops the vCPUs while it reads that byte, in the thread that reads the others. One round trip then stops the
  guest and fetches the registers of all vCPUs.
* Threads are vCPUs, numbered from 1; this interface numbers them from 0, as the kernel does.

The client belongs to one task. A cancelled question leaves its answer in the pipe; it is counted and skipped
before the next answer is read, so cancelling is safe at every point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import msgspec
import trio

from ktstr_tui.guest.gdb_packets import PacketReader, encode
from ktstr_tui.guest.gdb_stop import Stop, parse_stop
from ktstr_tui.guest.gdb_target import RegisterLayout, Registers, includes, parse_features
from ktstr_tui.model.errors import GuestError, HostError, InternalError

__all__ = [
    "GdbClient",
    "GdbClosedError",
    "GdbStatistics",
    "GdbTimeoutError",
    "Registers",
    "Stop",
    "parse_stop",
]

REPLY_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
_MAX_DESCRIPTION_CHARS = 1 << 20
_READ_CHUNK_BYTES = 1024


class GdbTimeoutError(GuestError):
    """The stub did not answer in time."""


class GdbClosedError(GuestError):
    """The connection ended: QEMU is gone."""


class GdbStatistics(msgspec.Struct, frozen=True):
    """Counts and times since connecting."""

    packets_sent: int
    packets_received: int
    junk_bytes: int
    """Bytes outside of packets."""
    bad_checksums: int
    stops: int
    watch_stops: int
    discarded_replies: int
    """Queued stop replies at connecting, and late answers to cancelled questions."""
    last_stop_us: float | None
    """From sending 0x03 to the stop reply, last time; None before the first."""
    max_stop_us: float | None


class GdbClient:
    """A connection to the stub.

    Args:
        stream: Connected to QEMU's gdb chardev.
    """

    running: bool
    """Whether the guest runs, as far as this connection knows."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.running = True
        self._stream = stream
        self._reader = PacketReader()
        self._packets: deque[str] = deque()
        self._unanswered = 0
        self._layout: RegisterLayout | None = None
        self._vcpus_asked: deque[int] = deque()
        self._physical = False
        self._sent = self._received = 0
        self._stops = self._watch_stops = self._discarded = 0
        self._last_stop_us: float | None = None
        self._max_stop_us: float | None = None

    @classmethod
    async def connect(cls, stream: trio.abc.Stream) -> GdbClient:
        """Shake hands, learn the registers, and let the guest run on.

        Raises:
            GdbTimeoutError: No answer in time.
            GdbClosedError: QEMU is gone.
            InternalError: The stub speaks something else.
        """
        client = cls(stream)
        with _deadline(REPLY_TIMEOUT_S, "the gdb stub did not answer the handshake"):
            # Stops the guest when it runs and is ignored when it stands; either way it stands afterwards.
            client._sent += 1
            await client._send_raw(b"\x03" + encode("QStartNoAckMode"))
            while (answer := await client._receive())[:1] in ("T", "S"):
                client._discarded += 1
            client.running = False
            if answer not in ("OK", ""):
                raise InternalError(f"QEMU's gdb stub answers {answer[:80]!r} to QStartNoAckMode")
            features = await client._ask("qSupported:xmlRegisters=i386")
            if "qXfer:features:read+" not in features:
                raise InternalError("QEMU's gdb stub offers no target description")
            client._layout = await client._read_layout()
        await client.resume()
        return client

    async def interrupt(self) -> None:
        """Ask a running guest to stop; `wait_stop` then tells when it stands. Does nothing when it stands."""
        if self.running:
            await self._send_raw(b"\x03")

    async def wait_stop(self) -> Stop:
        """Wait until the guest stands, however long it takes, and tell why.

        Raises:
            GdbClosedError: QEMU is gone.
            InternalError: The guest already stands, so that nothing would ever come.
        """
        if not self.running:
            raise InternalError("wait_stop while the guest stands")
        while True:
            text = await self._receive()
            if text[:1] in ("T", "S"):
                break
            if text[:1] in ("W", "X"):
                raise GdbClosedError("the guest ended")
            # Console output packets ("O…") and anything unknown are not stops.
            self._discarded += 1
            self._unanswered -= self._unanswered > 0
        self.running = False
        stop = parse_stop(text)
        self._stops += 1
        self._watch_stops += stop.kind == "watch"
        return stop

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        """Stop the guest and wait until it stands.

        Args:
            registers_of: vCPUs to ask for their registers in the same write, see `ask_registers`.

        Returns:
            Why it stopped: kind ``interrupt``, or ``watch`` when a watchpoint was quicker.

        Raises:
            GdbTimeoutError: The guest did not stop; it may still do so, see `wait_stop`.
            GdbClosedError: QEMU is gone.
        """
        started_s = trio.current_time()
        wanted = list(registers_of)
        with _deadline(STOP_TIMEOUT_S, "the guest did not stop"):
            if self.running:
                # QEMU stops the vCPUs as it reads the first byte, so the rest falls on a standing guest.
                await self._send_questions(_registers_of(wanted), b"\x03")
            stop = await self.wait_stop()
        self._vcpus_asked.extend(wanted)
        self._last_stop_us = (trio.current_time() - started_s) * 1e6
        self._max_stop_us = max(self._max_stop_us or 0.0, self._last_stop_us)
        return stop

    async def resume(self) -> None:
        """Let all vCPUs run."""
        if self.running:
            raise InternalError("resume while the guest runs")
        # From the first byte on the guest may run, and nobody may send; cancellation must not fall in
        # between.
        with (
            trio.CancelScope(shield=True),
            _deadline(REPLY_TIMEOUT_S, "the gdb stub did not take the resume"),
        ):
            await self._skip_unanswered()
            self.running = True
            self._sent += 1
            await self._send_raw(encode("vCont;c"))

    async def registers(self, vcpu: int) -> Registers:
        """The registers of one vCPU of a standing guest.

        Raises:
            InternalError: The stub knows no such vCPU, or the guest runs.
        """
        await self.ask_registers([vcpu])
        return await self.next_registers()

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        """Ask for the registers of several vCPUs of a standing guest in one write.

        QEMU works on the answers while the caller does something else; `next_registers` takes them, one vCPU
        after the other. What is not taken is skipped before the next question.

        Raises:
            InternalError: The guest runs.
        """
        wanted = list(vcpus)
        await self._post(_registers_of(wanted))
        self._vcpus_asked.extend(wanted)

    async def next_registers(self) -> Registers:
        """The registers of the next vCPU that was asked for.

        Raises:
            InternalError: No vCPU was asked for, the stub knows no such vCPU, or its answer is garbage.
        """
        if self._layout is None or not self._vcpus_asked:
            raise InternalError("registers that nobody asked for")
        vcpu = self._vcpus_asked.popleft()
        # Given back only with a whole answer: after a wait that was given up, the rest cannot be told apart.
        others, self._vcpus_asked = self._vcpus_asked, deque()
        is_there = len(self._packets) >= 2
        message = f"the gdb stub did not tell the registers of vCPU {vcpu}"
        # A deadline costs as much as decoding, so there is one only when there is something to wait for.
        with nullcontext() if is_there else _deadline(REPLY_TIMEOUT_S, message):
            chosen, text = await self._answer(), await self._answer()
        self._vcpus_asked = others
        if chosen != "OK":
            raise InternalError(f"QEMU's gdb stub knows no vCPU {vcpu}: {chosen[:80]!r}")
        try:
            return self._layout.decode(bytes.fromhex(text))
        except ValueError as error:
            raise InternalError(f"the registers of vCPU {vcpu} cannot be read: {error}") from error

    async def read_memory(self, address: int, length: int) -> bytes:
        """Read guest-virtual memory as the vCPU selected last sees it (vCPU 0 at first).

        Args:
            address: Guest-virtual address.
            length: In bytes.

        Raises:
            GuestError: Some of it is not mapped.
        """
        return await self._read(address, length, physical=False)

    async def read_physical(self, address: int, length: int) -> bytes:
        """Read guest-physical memory.

        Raises:
            GuestError: There is no such memory.
        """
        return await self._read(address, length, physical=True)

    async def insert_watch(self, address: int, length: int = 4) -> None:
        """Stop the guest whenever something writes to these bytes.

        Args:
            address: Guest-virtual address, aligned to ``length``.
            length: 1, 2, 4 or 8 bytes.

        Raises:
            HostError: The accelerator has no slot left (KVM: four, on some hosts none).
        """
        await self._watch("Z2", address, length)

    async def remove_watch(self, address: int, length: int = 4) -> None:
        """Undo `insert_watch` of the same address and length.

        Raises:
            HostError: There is no such watchpoint.
        """
        await self._watch("z2", address, length)

    async def aclose(self) -> None:
        """Close the connection. QEMU removes the watchpoints and lets the guest run."""
        await trio.aclose_forcefully(self._stream)

    def statistics(self) -> GdbStatistics:
        """Counts and times since connecting."""
        return GdbStatistics(
            packets_sent=self._sent,
            packets_received=self._received,
            junk_bytes=self._reader.junk_bytes,
            bad_checksums=self._reader.bad_checksums,
            stops=self._stops,
            watch_stops=self._watch_stops,
            discarded_replies=self._discarded,
            last_stop_us=self._last_stop_us,
            max_stop_us=self._max_stop_us,
        )

    async def _read(self, address: int, length: int, *, physical: bool) -> bytes:
        if physical is not self._physical:
            answer = await self._ask(f"Qqemu.PhyMemMode:{int(physical)}")
            if answer != "OK":
                raise InternalError(f"QEMU's gdb stub does not switch address spaces: {answer[:80]!r}")
            self._physical = physical
        data = bytearray()
        while len(data) < length:
            count = min(_READ_CHUNK_BYTES, length - len(data))
            text = await self._ask(f"m{address + len(data):x},{count:x}")
            try:
                chunk = bytes.fromhex(text)
            except ValueError:
                chunk = b""
            if len(chunk) != count:
                space = "physical" if physical else "virtual"
                raise GuestError(f"{space} address {address + len(data):#x} cannot be read: {text[:80]!r}")
            data += chunk
        return bytes(data)

    async def _watch(self, request: str, address: int, length: int) -> None:
        answer = await self._ask(f"{request},{address:x},{length:x}")
        if answer != "OK":
            raise HostError(
                f"watchpoint {request} at {address:#x} refused: {answer[:80] or 'not supported'}",
                "KVM has four slots and on some hosts none; try --accel tcg",
            )

    async def _read_layout(self) -> RegisterLayout:
        main = await self._document("target.xml")
        return parse_features([main, *[await self._document(name) for name in includes(main)]])

    async def _document(self, name: str) -> str:
        text = ""
        while len(text) < _MAX_DESCRIPTION_CHARS:
            part = await self._ask(f"qXfer:features:read:{name}:{len(text):x},ffb")
            text += part[1:]
            if part[:1] == "l":
                return text
            if part[:1] != "m":
                break
        raise InternalError(f"QEMU's gdb stub does not hand out {name}")

    async def _ask(self, text: str) -> str:
        """Send a request to a standing guest's stub and return the answer."""
        with _deadline(REPLY_TIMEOUT_S, f"the gdb stub did not answer {text[:20]!r}"):
            await self._post([text])
            return await self._answer()

    async def _post(self, questions: list[str]) -> None:
        """Send requests to a standing guest's stub, without waiting for the answers."""
        if self.running:
            raise InternalError(
                f"gdb request {questions[0][:20]!r} while the guest runs: it would stop the guest"
            )
        with _deadline(REPLY_TIMEOUT_S, "the gdb stub did not answer what it was asked before"):
            await self._skip_unanswered()
        await self._send_questions(questions)

    async def _send_questions(self, questions: list[str], before: bytes = b"") -> None:
        self._unanswered += len(questions)
        self._sent += len(questions)
        await self._send_raw(before + b"".join(map(encode, questions)))

    async def _answer(self) -> str:
        answer = await self._receive()
        self._unanswered -= 1
        return answer

    async def _skip_unanswered(self) -> None:
        self._vcpus_asked.clear()
        while self._unanswered:
            await self._receive()
            self._unanswered -= 1
            self._discarded += 1

    async def _receive(self) -> str:
        while not self._packets:
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise GdbClosedError("QEMU went away") from error
            if not data:
                raise GdbClosedError("QEMU went away")
            found = self._reader.feed(bytes(data))
            self._received += len(found)
            self._packets.extend(found)
        return self._packets.popleft()

    async def _send_raw(self, data: bytes) -> None:
        try:
            # Half a packet would garble the next one, so sending is not given up in the middle.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + REPLY_TIMEOUT_S) as scope:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise GdbClosedError("QEMU went away") from error
        if scope.cancelled_caught:
            raise GdbTimeoutError("the gdb stub does not read")


def _registers_of(vcpus: list[int]) -> list[str]:
    return [text for vcpu in vcpus for text in (f"Hg{vcpu + 1:x}", "g")]


@contextmanager
def _deadline(seconds: float, message: str) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise GdbTimeoutError(f"{message} within {seconds:g} s", "is the host overloaded?") from None
