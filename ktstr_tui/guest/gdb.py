"""The engine over QEMU's gdb stub: stop all vCPUs, read registers, set write watchpoints, resume.

Facts about the stub that shape this file:

* It is all-stop. **While the guest runs, any byte that arrives stops it and is thrown away**, so nothing but
  0x03 may be sent then. While it is stopped, 0x03 is noise between packets and ignored.
* After ``vCont;c`` there is no reply until the next stop. So the order is simple: running, only a stop reply
  can arrive; stopped, only answers to what was asked.
* ``stop`` races with watchpoints. When the watch wins, its stop reply is the one that arrives and our 0x03
  reaches a stopped guest: one reply, never two. When 0x03 wins by less than the time QEMU needs to leave
  its main loop, the reply says SIGINT and the watch is not reported. So after *any* stop, look at the watched
  value itself.
* **A hit that is not reported is remembered**, and makes the next access near any watch a stop that is reported with
  the address of the first one. If that watch was removed meanwhile, QEMU reads its address from memory that it has
  freed. So an address that was never watched says that something was hit, and not what.
* QEMU before 8.1 queues a stop reply when the guest stops for whatever reason, also when nobody asked. During
  connecting those are discarded until the answer to ``QStartNoAckMode`` comes.
* Older stubs (7.2) know no ``QStartNoAckMode`` and want each reply acknowledged; the ``$`` of the next request
  counts as that, so nothing is ever sent only to acknowledge.
* Requests may follow 0x03 in the same write: QEMU stops the vCPUs while it reads that byte, in the thread that
  reads the others. One round trip then stops the guest and fetches the registers of all vCPUs.
* Threads are vCPUs, numbered from 1; this interface numbers them from 0, as the kernel does.

How requests find their answers is in `ktstr_tui.guest.gdb_connection`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext

import msgspec
import trio

from ktstr_tui.guest.engine import (
    CALLS_HINT,
    EngineLostError,
    EngineStatistics,
    Registers,
    Stop,
    WatchLimits,
)
from ktstr_tui.guest.gdb_connection import REPLY_TIMEOUT_S, GdbConnection, deadline
from ktstr_tui.guest.gdb_stop import parse_stop
from ktstr_tui.guest.gdb_target import RegisterLayout, includes, parse_features
from ktstr_tui.model.errors import HostError, InternalError

__all__ = ["GdbClient", "GdbStatistics"]

STOP_TIMEOUT_S = 10.0
MAIN_DOCUMENT = "target.xml"
"""Name of the document that a target description begins with."""
_WATCHES = frozenset(sign + kind for sign in "Zz" for kind in "234")
"""Requests that set and remove a watch: of writes, of reads, of both."""
_MAX_DESCRIPTION_CHARS = 1 << 20
_REMEMBERED = 64
"""Watches removed a moment ago that a stop may still name."""


class GdbStatistics(EngineStatistics, frozen=True, kw_only=True):
    """Counts and times since connecting."""

    packets_sent: int
    packets_received: int
    junk_bytes: int
    """Bytes outside of packets."""
    bad_checksums: int
    discarded_replies: int
    """Queued stop replies at connecting, and late answers to cancelled questions."""
    misnamed_hits: int
    """Hits reported at an address that was not watched."""


class GdbClient:
    """A connection to the stub of a guest that is stopped; made by `connect_gdb`.

    Args:
        connection: Where the handshake has been made.
        layout: How the stub writes registers.
        watch_slots: Watchpoints that the accelerator has; None when only the attempt shows it.
        description: The stub's target description, by the name of its documents.
    """

    running: bool
    """Whether the guest runs, as far as this connection knows."""

    def __init__(
        self,
        connection: GdbConnection,
        layout: RegisterLayout,
        watch_slots: int | None = None,
        description: Mapping[str, str] | None = None,
    ) -> None:
        self.running = False
        self.resume_as = "c"
        """What each resume does, as the actions of ``vCont``."""
        self.description: Mapping[str, str] = description or {}
        """The target description: XML by the name of its document."""
        self.watch_limits = WatchLimits(watch_slots)
        self._connection = connection
        self._layout = layout
        self._vcpus_asked: deque[int] = deque()
        self._armed: Counter[int] = Counter()
        self._left: deque[int] = deque(maxlen=_REMEMBERED)
        self._stops = self._watch_stops = self._misnamed_hits = 0
        self._last_stop_us: float | None = None
        self._max_stop_us: float | None = None

    async def wait_stop(self) -> Stop:
        """Wait until the guest stops, however long it takes, and return why.

        Raises:
            EngineLostError: QEMU is gone.
            InternalError: The guest is stopped already, so that nothing would ever come.
        """
        if not self.running:
            raise InternalError("wait_stop while the guest is stopped")
        while True:
            text = await self._connection.receive()
            if text[:1] in ("T", "S"):
                break
            if text[:1] in ("W", "X"):
                raise EngineLostError("the guest ended")
            # Console output packets ("O…") and anything unknown are not stops.
            self._connection.skip_one()
        self.running = False
        stop = self._named(parse_stop(text))
        self._stops += 1
        self._watch_stops += stop.reason == "watch"
        return stop

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        """Stop the guest and wait until it is stopped.

        Args:
            registers_of: vCPUs to ask for their registers in the same write, see `ask_registers`.

        Returns:
            Why it stopped: reason ``interrupt``, or ``watch`` when a watchpoint was quicker.

        Raises:
            EngineTimeoutError: The guest did not stop; it may still do so, see `wait_stop`.
            EngineLostError: QEMU is gone.
            InternalError: The guest is stopped already.
        """
        if not self.running:
            raise InternalError("stop while the guest is stopped")
        started_s = trio.current_time()
        wanted = list(registers_of)
        with deadline(STOP_TIMEOUT_S, "the guest did not stop"):
            # QEMU stops the vCPUs as it reads the first byte, so the rest reaches a stopped guest.
            await self._connection.send_questions(_registers_of(wanted), b"\x03")
            stop = await self.wait_stop()
        self._vcpus_asked.extend(wanted)
        self._last_stop_us = (trio.current_time() - started_s) * 1e6
        self._max_stop_us = max(self._max_stop_us or 0.0, self._last_stop_us)
        return stop

    async def resume(self) -> None:
        """Let all vCPUs run.

        Raises:
            EngineTimeoutError: The stub did not take the command.
            EngineLostError: QEMU is gone.
            InternalError: The guest runs already.
        """
        if self.running:
            raise InternalError("resume while the guest runs")
        # From the first byte on the guest may run, and nobody may send; cancellation must not fall in
        # between.
        with (
            trio.CancelScope(shield=True),
            deadline(REPLY_TIMEOUT_S, "the gdb stub did not accept the resume"),
        ):
            self._vcpus_asked.clear()
            await self._connection.skip_unanswered()
            self.running = True
            await self._connection.send_unanswered(f"vCont;{self.resume_as}")

    async def registers(self, vcpu: int) -> Registers:
        """Return the registers of one vCPU of a stopped guest.

        Raises:
            InternalError: The stub knows no such vCPU, or the guest runs.
        """
        await self.ask_registers([vcpu])
        return await self.next_registers()

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        """Ask for the registers of several vCPUs of a stopped guest in one write.

        QEMU works on the answers while the caller does something else; `next_registers` takes them, one vCPU
        after the other. What is not taken is skipped before the next question.

        Raises:
            InternalError: The guest runs.
        """
        wanted = list(vcpus)
        questions = _registers_of(wanted)
        self._check_stopped(questions[0] if questions else "g")
        self._vcpus_asked.clear()
        await self._connection.post(questions)
        self._vcpus_asked.extend(wanted)

    async def next_registers(self) -> Registers:
        """Return the registers of the next vCPU that was asked for.

        Raises:
            InternalError: No vCPU was asked for, the stub knows no such vCPU, or its answer is garbage.
        """
        if not self._vcpus_asked:
            raise InternalError("unexpected registers")
        vcpu = self._vcpus_asked.popleft()
        # Given back only with a whole answer: after a wait that was given up, the rest cannot be told apart.
        others, self._vcpus_asked = self._vcpus_asked, deque()
        is_there = self._connection.pending >= 2
        message = f"the gdb stub did not send the registers of vCPU {vcpu}"
        # A deadline costs as much as decoding, so there is one only when there is something to wait for.
        with nullcontext() if is_there else deadline(REPLY_TIMEOUT_S, message):
            chosen, text = await self._connection.answer(), await self._connection.answer()
        self._vcpus_asked = others
        if chosen != "OK":
            raise InternalError(f"QEMU's gdb stub has no vCPU {vcpu}: {chosen[:80]!r}")
        try:
            return self._layout.decode(bytes.fromhex(text))
        except ValueError as error:
            raise InternalError(f"the registers of vCPU {vcpu} cannot be read: {error}") from error

    async def arm_watch(self, address: int, length: int = 4) -> None:
        """Stop the guest whenever something writes to these bytes.

        Args:
            address: Guest-virtual address, aligned to ``length``.
            length: 1, 2, 4 or 8 bytes.

        Raises:
            HostError: The accelerator has no slot left (KVM: four, on some hosts none).
            InternalError: The guest runs.
        """
        await self._watch("Z2", address, length)

    async def disarm_watch(self, address: int, length: int = 4) -> None:
        """Undo `arm_watch` of the same address and length.

        Raises:
            HostError: There is no such watchpoint.
            InternalError: The guest runs.
        """
        await self._watch("z2", address, length)

    async def ask(self, question: str) -> str:
        """Send any request of gdb's protocol to the stub of a stopped guest, and return its answer.

        Raises:
            EngineTimeoutError: No answer in time.
            EngineLostError: QEMU is gone.
            InternalError: The guest runs.
        """
        self._check_stopped(question)
        self._vcpus_asked.clear()
        answer = await self._connection.ask(question)
        if answer == "OK" and question[:2] in _WATCHES:
            self._note_watch(question)
        return answer

    async def arm_call(self, address: int, tell: Callable[[], bool]) -> None:
        """Refuse: the stub knows no calls that leave the guest as it is; see `Engine.arm_call`."""
        raise HostError("calls cannot be watched in this run", CALLS_HINT)

    async def disarm_call(self, address: int) -> None:
        """Refuse: there is no such watch; see `Engine.disarm_call`."""
        raise HostError(f"no calls are watched at {address:#x}", "")

    def statistics(self) -> GdbStatistics:
        """Return the counts and times since connecting."""
        connection = self._connection
        return GdbStatistics(
            packets_sent=connection.sent,
            packets_received=connection.received,
            junk_bytes=connection.junk_bytes,
            bad_checksums=connection.bad_checksums,
            stops=self._stops,
            watch_stops=self._watch_stops,
            discarded_replies=connection.skipped,
            misnamed_hits=self._misnamed_hits,
            last_stop_us=self._last_stop_us,
            max_stop_us=self._max_stop_us,
        )

    def drops(self) -> dict[str, int]:
        """Return what the stub sent and nobody could use, by reason."""
        connection = self._connection
        return {
            "gdb-bad-checksums": connection.bad_checksums,
            "gdb-junk-bytes": connection.junk_bytes,
        }

    def _note_watch(self, question: str) -> None:
        address = int(question.split(",")[1], 16)
        if question[0] == "Z":
            self._armed[address] += 1
            return
        self._armed[address] -= 1
        self._armed += Counter()
        self._left.append(address)

    def _named(self, stop: Stop) -> Stop:
        address = stop.watch_address
        if address is None or address in self._armed or address in self._left:
            return stop
        self._misnamed_hits += 1
        only = next(iter(self._armed)) if len(self._armed) == 1 else None
        return msgspec.structs.replace(stop, watch_address=only)

    async def _watch(self, request: str, address: int, length: int) -> None:
        answer = await self.ask(f"{request},{address:x},{length:x}")
        if answer != "OK":
            raise HostError(
                f"watchpoint {request} at {address:#x} refused: {answer[:80] or 'not supported'}",
                "KVM has four slots and on some hosts none; try --accel tcg",
            )

    def _check_stopped(self, question: str) -> None:
        if self.running:
            raise InternalError(
                f"gdb request {question[:20]!r} while the guest runs: it would stop the guest"
            )


async def connect_gdb(
    stream: trio.abc.Stream, watch_slots: int | None = None, *, resume: bool = True
) -> GdbClient:
    """Shake hands with a stub, learn its registers, and let the guest run on.

    Args:
        stream: Connected to QEMU's gdb chardev.
        watch_slots: Watchpoints that the accelerator has; None when only the attempt shows it.
        resume: Whether the guest is to run afterwards.

    Raises:
        EngineTimeoutError: No answer in time.
        EngineLostError: QEMU is gone.
        InternalError: The stub speaks something else.
    """
    connection = GdbConnection(stream)
    with deadline(REPLY_TIMEOUT_S, "the gdb stub did not answer the handshake"):
        # 0x03 stops the guest when it runs and is ignored otherwise; either way it is stopped afterwards.
        await connection.send_unanswered("QStartNoAckMode", b"\x03")
        while (answer := await connection.receive())[:1] in ("T", "S"):
            connection.skip_one()
        if answer not in ("OK", ""):
            raise InternalError(f"QEMU's gdb stub answers {answer[:80]!r} to QStartNoAckMode")
        features = await connection.ask("qSupported:xmlRegisters=i386")
        if "qXfer:features:read+" not in features:
            raise InternalError("QEMU's gdb stub offers no target description")
        main = await _document(connection, MAIN_DOCUMENT)
        others = {name: await _document(connection, name) for name in includes(main)}
        layout = parse_features([main, *others.values()])
        client = GdbClient(connection, layout, watch_slots, {MAIN_DOCUMENT: main, **others})
    if resume:
        await client.resume()
    return client


async def _document(connection: GdbConnection, name: str) -> str:
    text = ""
    while len(text) < _MAX_DESCRIPTION_CHARS:
        part = await connection.ask(f"qXfer:features:read:{name}:{len(text):x},ffb")
        text += part[1:]
        if part[:1] == "l":
            return text
        if part[:1] != "m":
            break
    raise InternalError(f"QEMU's gdb stub does not provide {name}")


def _registers_of(vcpus: list[int]) -> list[str]:
    return [text for vcpu in vcpus for text in (f"Hg{vcpu + 1:x}", "g")]
