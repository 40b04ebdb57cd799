"""One debugger's session: its requests in gdb's protocol, answered by a target.

Two tasks, and at any time only one of them may speak: while the target is stopped the debugger asks and is answered;
while it runs there is nothing but the byte 0x03 from there and, at last, one stop reply from here. What a debugger
asks while the target runs is counted and thrown away. A request that is not known is answered with nothing, which in
this protocol says just that; one that is refused or makes no sense with an error. Nothing that a debugger sends ends
more than its own session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import trio

from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.stop.rendezvous import RendezvousTimeoutError
from ktstr_tui.debug.answers import Answers
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.requests import Asked, Damaged, Heard, Interrupt, RequestReader, encode_answer
from ktstr_tui.debug.target import Said, Target
from ktstr_tui.debug.vcont import parse_thread, parse_vcont
from ktstr_tui.model.errors import GuestError, KtstrError

_SIGINT, _SIGTRAP = 2, 5
_OLD_RESUMES = frozenset("cCsS")
_WORDLESS = frozenset("mMZ")
"""Requests about memory and breakpoints: when they are refused, gdb shows that, and no words."""


class SessionCounts(msgspec.Struct):
    """What was lost of a session."""

    junk_bytes: int = 0
    """Bytes that belonged to no request."""
    damaged: int = 0
    """Requests with a wrong checksum, or too long."""
    while_running: int = 0
    """Requests that came while the guest ran, which cannot be answered."""


class Session:
    """Serves one debugger until it leaves.

    Args:
        stream: Where it is connected.
        target: What it looks at.
        offered: The file of symbols.
        first: The stop with which the session begins.
        counts: Where losses are counted.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        target: Target,
        offered: OfferedFile,
        first: DebuggerStop,
        counts: SessionCounts,
    ) -> None:
        self._stream = stream
        self._target = target
        self._counts = counts
        self._answers = Answers(target, offered)
        self._reader = RequestReader()
        self._last = first
        self._running = False
        self._acknowledges = True
        self._resumes: int | None = None
        """The vCPU that ``c`` and ``s`` are for; None for all."""
        self._unsaid = ""
        """Words for which there was no place yet."""
        self._said_who_steps = False
        self._sending = trio.Lock()

    async def run(self) -> str:
        """Serve until the debugger leaves or the target is gone; returns why it ended.

        Raises:
            trio.Cancelled: As usual; the debugger sees its connection closed.
        """
        reason = "the debugger's connection was closed"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_stops)
            try:
                reason = await self._listen()
            except GuestError as error:
                reason = error.message
                await self._try_to_say(b"X09")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()
        return reason

    async def _listen(self) -> str:
        while data := await self._stream.receive_some(65536):
            for heard in self._reader.feed(bytes(data)):
                if not await self._take(heard):
                    return "detached"
            self._counts.junk_bytes += self._reader.junk_bytes
            self._reader.junk_bytes = 0
        return "the debugger's connection was closed"

    async def _take(self, heard: Heard) -> bool:
        """Do what was asked; False when the debugger leaves."""
        match heard:
            case Interrupt():
                if self._running:
                    await self._target.interrupt()
            case Damaged():
                self._counts.damaged += 1
                if self._acknowledges:
                    await self._send_raw(b"-")
            case Asked(data=data):
                if self._acknowledges:
                    await self._send_raw(b"+")
                return await self._on_request(data.decode("latin-1"))
        return True

    async def _on_request(self, text: str) -> bool:
        if self._running:
            self._counts.while_running += 1
            return True
        if text == "D" or text.startswith(("D;", "vKill")):
            await self._send(b"OK")
            return False
        if text == "k":
            return False
        if text in ("bc", "bs") and self._target.goes_back:
            await self._start(partial(self._go_back, text))
            return True
        if text[:6] == "vCont;" or text[:1] in _OLD_RESUMES:
            await self._start(partial(self._resume, text))
            return True
        await self._send(await self._answer(text))
        if text == "QStartNoAckMode":
            self._acknowledges = False
        return True

    async def _answer(self, text: str) -> bytes:
        try:
            if text == "?":
                return stop_reply(self._last)
            if text[:2] == "Hc":
                self._resumes = parse_thread(text[2:], self._target.vcpus)
                return b"OK"
            return await self._answers.answer(text)
        except KtstrError as error:
            if _is_end(error):
                raise
            if text[:1] in _WORDLESS:
                self._unsaid = f"refused before: {_words(error)}"
            if text[:1] == "m":
                # gdb 13 takes words in place of memory for memory, and may end itself over them.
                return b"E14"
            return f"E.{_words(error)}".encode("ascii", "replace")

    async def _start(self, start: Callable[[], Awaitable[None]]) -> None:
        # The only place for words is the debugger's console, and that only while it waits for a stop.
        unsaid, self._unsaid = self._unsaid, ""
        if unsaid:
            await self._say(unsaid)
        try:
            await start()
        except KtstrError as error:
            if _is_end(error):
                raise
            self._running = False
            await self._say(_words(error))
            await self._send(b"E01")

    async def _resume(self, text: str) -> None:
        how = parse_vcont(self._in_new_words(text), self._target.vcpus)
        self._running = True
        await self._target.resume(how)

    async def _go_back(self, text: str) -> None:
        self._running = True
        vcpu = self._last.vcpu if self._resumes is None else self._resumes
        if (
            text == "bs"
            and self._resumes is None
            and self._answers.general != vcpu
            and not self._said_who_steps
        ):
            self._said_who_steps = True
            await self._say(
                "gdb does not say which thread is to step back: it is the one that stopped last, "
                f"thread {vcpu + 1}; with set scheduler-locking step it is the chosen one, but gdb then "
                "shows the others as they were before until maint flush register-cache"
            )
        await self._target.go_back(vcpu, step=text == "bs")

    def _in_new_words(self, text: str) -> str:
        if text[:1] == "v":
            return text[5:]
        letter = text[:1].lower()
        vcpu = self._resumes
        if letter == "s" and vcpu is None:
            vcpu = self._last.vcpu
        return f";{letter}" if vcpu is None else f";{letter}:{vcpu + 1:x};c"

    async def _tell_stops(self) -> None:
        while True:
            stop = await self._target.wait_stop()
            if isinstance(stop, Said):
                await self._say(stop.words)
                continue
            self._last, self._running = stop, False
            self._answers.general = stop.vcpu
            await self._try_to_say(stop_reply(stop))

    async def _say(self, words: str) -> None:
        await self._try_to_say(b"O" + f"ktstr-tui: {words}\n".encode().hex().encode())

    async def _send(self, answer: bytes) -> None:
        await self._send_raw(encode_answer(answer))

    async def _send_raw(self, data: bytes) -> None:
        async with self._sending:
            await self._stream.send_all(data)

    async def _try_to_say(self, answer: bytes) -> None:
        # The other task finds out as well, and ends the session.
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send(answer)


def stop_reply(stop: DebuggerStop) -> bytes:
    """The stop reply for a stop: which thread, which watchpoint was hit, and whether nothing is before."""
    signal = _SIGINT if stop.interrupted else _SIGTRAP
    hit = "" if stop.watch is None else f"{stop.watch}:{stop.address:x};"
    begin = "replaylog:begin;" if stop.at_begin else ""
    return f"T{signal:02x}thread:{stop.vcpu + 1:02x};{hit}{begin}".encode()


def _is_end(error: KtstrError) -> bool:
    """Whether the target is gone; a wait that took too long is an answer like another."""
    return isinstance(error, GuestError) and not isinstance(error, RendezvousTimeoutError)


def _words(error: KtstrError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
