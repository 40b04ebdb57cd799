"""A run that is had again for a debugger, seen from the run that the debugger is attached to: a client of its stub.

It is held at its first instructions when it is opened, and runs only as far as it is told to. Nobody writes to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final, TypeAlias, TypeVar

import msgspec
import trio

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop, WatchKind
from ktstr_tui.capture.watch.debugger_points import CODES, Point
from ktstr_tui.guest.engine import EngineLostError
from ktstr_tui.guest.gdb_connection import GdbConnection
from ktstr_tui.guest.observer_page import Notes
from ktstr_tui.guest.retracing import OK, HoldAt, NoteDown, Place, Request, WhatWasNoted, WhereIsIt, encode
from ktstr_tui.model.errors import GuestError, InternalError, UsageError

_STOP = re.compile(r"T([0-9a-f]{2})thread:([0-9a-f]+);(?:(watch|rwatch|awatch):([0-9a-f]+);)?")
_SIGINT = 2
_ENDED = "the rerun ended before it got there"
_Answer = TypeVar("_Answer")
TELL_EACH_S: Final = 5.0
TellShare: TypeAlias = Callable[[float], Awaitable[None]]
OpenAgain: TypeAlias = Callable[[], AbstractAsyncContextManager[GdbConnection]]
"""Has the run again: its stub, with which a session has begun. The run ends with the context."""


class AgainGuest:
    """One run that is had again.

    Args:
        connection: To its stub.
        vcpus: How many vCPUs it has.
    """

    def __init__(self, connection: GdbConnection, vcpus: int) -> None:
        self._connection = connection
        self._vcpus = vcpus
        self._set: frozenset[Point] = frozenset()
        self._sending = trio.Lock()
        self.threads: tuple[str, ...] = ()
        """What each vCPU does, in words; as of the last `look`."""

    async def ask(self, vcpu: int, request: str) -> str:
        """Answer a request about registers or memory as that vCPU sees it.

        Raises:
            GuestError: It is gone, or does not answer.
        """
        await self._ask(f"Hg{vcpu + 1:x}")
        return await self._ask(request)

    async def where(self) -> Place:
        """Where it is held."""
        return _read(await self._instruct(WhereIsIt()), Place)

    async def note(self, what: NoteDown) -> None:
        """Have it note what happens from here on."""
        await self._instruct(what)

    async def noted(self) -> Notes:
        """What it has noted."""
        return _read(await self._instruct(WhatWasNoted()), Notes)

    async def look(self) -> None:
        """Ask what its vCPUs do."""
        told = [await self._ask(f"qThreadExtraInfo,{vcpu + 1:x}") for vcpu in range(self._vcpus)]
        self.threads = tuple(bytes.fromhex(it).decode("utf-8", "replace") for it in told)

    async def hold_at(self, total: int) -> None:
        """Have it stop once so many instructions were executed, whatever else stops it before."""
        await self._instruct(HoldAt(total))

    async def go_on_to(self, total: int, tell: TellShare | None = None) -> Place:
        """Let it run until so many instructions were executed; returns where it is then, which may be a block later.

        Args:
            total: Of all vCPUs.
            tell: Told now and then which share of the way is done, from 0 to 1.

        Raises:
            GuestError: It is gone before.
        """
        place = await self.where()
        began = place.total
        if place.total < total:
            await self.hold_at(total)
        while place.total < total:
            await self.run(Resume(), math.inf if tell is None else TELL_EACH_S)
            place = await self.where()
            if tell is not None and place.total < total:
                await tell((place.total - began) / (total - began))
        return place

    async def go_to_block(self, total: int, tell: TellShare | None = None) -> Place:
        """Let it run as `go_on_to` does, to where a block begins; returns where it is then.

        Raises:
            GuestError: It is gone before, or no block begins there: it is not the same run.
        """
        place = await self.go_on_to(total, tell)
        if place.total != total or place.in_block:
            raise GuestError(f"the rerun went past instruction {total}: it is not the same run")
        return place

    async def meet(self, address: int) -> Place:
        """Let it come to an instruction of the block that it is held before, as to a breakpoint; returns where that is.

        Raises:
            GuestError: It is gone, or does not come there: it is not the same run.
        """
        before = await self.where()
        await self.set_points(frozenset((Point("break", address, 1),)))
        await self.run(Resume())
        place = await self.where()
        if (place.total, place.breakpoint) != (before.total, address):
            raise GuestError(f"the rerun does not come to {address:#x} there: it is not the same run")
        return place

    async def set_points(self, wanted: frozenset[Point]) -> None:
        """Have it stop at these breakpoints and writes, and at no others.

        Raises:
            UsageError: It refuses one.
        """
        changes = [("z", it) for it in self._set - wanted] + [("Z", it) for it in wanted - self._set]
        for letter, point in changes:
            code = CODES.index(point.kind)
            answer = await self._ask(f"{letter}{code},{point.address:x},{point.length:x}")
            if answer != OK:
                raise UsageError(f"no {point.kind} at {point.address:#x} there: {answer.removeprefix('E.')}")
        self._set = wanted

    async def run(self, how: Resume, at_most_s: float = math.inf) -> DebuggerStop:
        """Let it run until it stops.

        Args:
            how: How.
            at_most_s: Seconds after which it is interrupted.

        Raises:
            UsageError: It cannot be run like that.
            GuestError: It is gone.
        """
        with _named():
            async with self._sending:
                await self._connection.send_unanswered(f"vCont;{how.actions()}")
            with trio.move_on_after(at_most_s):
                return await self._next_stop()
            await self.interrupt()
            return await self._next_stop()

    async def _next_stop(self) -> DebuggerStop:
        said = ""
        while True:
            text = await self._connection.receive()
            form = _STOP.match(text)
            if form is not None:
                return _stop_of(form)
            match text[:1]:
                case "X" | "W":
                    raise GuestError(_ENDED)
                case "E":
                    raise UsageError(said or f"it is refused: {text}")
                case "O":
                    said = bytes.fromhex(text[1:]).decode("utf-8", "replace").strip()

    async def interrupt(self) -> None:
        """Stop it while it runs."""
        with _named():
            async with self._sending:
                await self._connection.send_raw(b"\x03")

    async def _ask(self, request: str) -> str:
        with _named():
            return await self._connection.ask(request)

    async def _instruct(self, request: Request) -> str:
        answer = await self._ask(encode(request))
        if not answer or answer[0] == "E":
            raise GuestError(
                f"it refuses {type(request).__name__}: {answer or 'it does not answer as a run does'}"
            )
        return answer


@contextmanager
def _named() -> Iterator[None]:
    """Say what is gone: not the guest that the debugger is attached to."""
    try:
        yield
    except EngineLostError as error:
        raise GuestError(_ENDED) from error


def _read(answer: str, kind: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError as error:
        raise InternalError(f"an answer of the rerun cannot be read: {error}") from error


def _stop_of(form: re.Match[str]) -> DebuggerStop:
    kinds: dict[str, WatchKind] = {"watch": "watch", "rwatch": "rwatch", "awatch": "awatch"}
    return DebuggerStop(
        vcpu=int(form[2], 16) - 1,
        interrupted=int(form[1], 16) == _SIGINT,
        watch=None if form[3] is None else kinds[form[3]],
        address=None if form[4] is None else int(form[4], 16),
    )
