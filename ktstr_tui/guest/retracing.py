"""What a debugger that goes back in time asks of a run that is had again for it, beyond gdb's own protocol.

The run is had again from its beginning: once to note what happened before an instant, and once more to be held where
the debugger wants to be. Instants are instructions executed by all vCPUs, which are the same in each run of a seed.
Requests travel as one packet of gdb's protocol, which any other stub answers with nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from ktstr_tui.guest.observer_page import MAX_NOTED, MAX_VCPUS, Held, HoldReason, ObserverPage
from ktstr_tui.model.errors import UsageError

REQUEST: Final = re.compile(r"QKtstr:([0-9a-f]{2,65536})")
OK: Final = "OK"


class WhereIsIt(msgspec.Struct, frozen=True, tag="where"):
    """Where is the machine held?"""


class HoldAt(msgspec.Struct, frozen=True, tag="hold"):
    """Stop for the debugger once so many instructions were executed."""

    total: int


class NoteDown(msgspec.Struct, frozen=True, tag="note"):
    """Note what happens from here on."""

    ranges: tuple[tuple[int, int], ...] = ()
    """First address and length in bytes of what stores are looked for in."""
    probes: tuple[int, ...] = ()
    """Instructions whose executions are looked for."""
    vcpu: int | None = None
    """Whose blocks are noted as well."""


class WhatWasNoted(msgspec.Struct, frozen=True, tag="noted"):
    """What was noted so far?"""


Request: TypeAlias = WhereIsIt | HoldAt | NoteDown | WhatWasNoted


class Place(msgspec.Struct, frozen=True):
    """Where a machine is held."""

    total: int
    """Instructions executed by all vCPUs, with all of the block that it is in."""
    in_block: bool
    """Whether that is within a block of translated code, at a store; else it is where one begins."""
    vcpu: int
    rip: int
    """Of that vCPU."""
    hit: tuple[int, int] | None = None
    """The address that it is held for and the bytes that were stored there, or 0 for an execution; None for neither."""

    @property
    def order(self) -> tuple[int, bool, int]:
        """Sorts places of one run by when the machine was there."""
        return self.total, not self.in_block, self.rip if self.in_block else self.breakpoint or 0

    @property
    def breakpoint(self) -> int | None:
        """The address before whose execution it is held; one block may have several, at the same instant."""
        return self.hit[0] if self.hit is not None and not self.hit[1] else None


def encode(request: Request) -> str:
    """A request as the text of a packet."""
    return "QKtstr:" + msgspec.json.encode(request).hex()


class Retracing:
    """Answers such requests about one machine.

    Args:
        page: Shared with its observer.
        place: Where it is held.
        hold_at: Has it stopped once so many instructions were executed.
    """

    def __init__(
        self,
        page: ObserverPage,
        place: Callable[[], Place],
        hold_at: Callable[[int], object],
    ) -> None:
        self._page, self._place, self._hold_at = page, place, hold_at

    def answer(self, text: str) -> str | None:
        """Answer a packet; None for one that is no such request.

        Raises:
            UsageError: It makes no sense, or wants too much.
        """
        form = REQUEST.fullmatch(text)
        if form is None:
            return None
        try:
            request = msgspec.json.decode(bytes.fromhex(form[1]), type=Request)
        except (ValueError, msgspec.MsgspecError) as error:
            raise UsageError(f"not a request: {error}") from None
        match request:
            case WhereIsIt():
                return msgspec.json.encode(self._place()).decode()
            case HoldAt(total=total):
                self._hold_at(_checked(total))
            case NoteDown():
                self._note(request)
            case WhatWasNoted():
                return msgspec.json.encode(self._page.notes()).decode()
        return OK

    def _note(self, request: NoteDown) -> None:
        if len(request.ranges) > MAX_NOTED or len(request.probes) > MAX_NOTED:
            raise UsageError(f"{MAX_NOTED} places are noted at most")
        if request.vcpu is not None and not 0 <= request.vcpu < MAX_VCPUS:
            raise UsageError(f"there is no vCPU {request.vcpu}")
        ranges = [(_checked(address), length) for address, length in request.ranges]
        if any(length < 1 or address + length > 1 << 64 for address, length in ranges):
            raise UsageError("not a range of addresses")
        self._page.note(ranges, map(_checked, request.probes), request.vcpu)


def place_of(held: Held, rip: int) -> Place:
    """Where a machine is that is held.

    Args:
        held: Why it is.
        rip: Of the vCPU that holds.
    """
    is_hit = held.reason in (HoldReason.WRITE, HoldReason.CALL)
    width = held.width if held.reason is HoldReason.WRITE else 0
    hit = (held.address, width) if is_hit else None
    return Place(held.total, held.in_block, held.vcpu, rip, hit)


def _checked(number: int) -> int:
    if not 0 <= number < 1 << 64:
        raise UsageError(f"{number} is not a number of 64 bits")
    return number
