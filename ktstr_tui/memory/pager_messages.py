"""What the pager and its owner say to each other (``native/pager/ktstr_page.h``), as values."""

from __future__ import annotations

import os
import struct

import msgspec

from ktstr_tui._native import lib
from ktstr_tui.model.errors import InternalError

MESSAGE_BYTES = 200
_MESSAGE = struct.Struct("<IIQQQQ160s")


class Resident(msgspec.Struct, frozen=True, tag=True):
    """All pages of data are loaded."""


class BadPage(msgspec.Struct, frozen=True, tag=True):
    """A page cannot be had; whoever touches it waits for ever."""

    page: int
    """Of the image."""
    why: str


class LinkLost(msgspec.Struct, frozen=True, tag=True):
    """The connection to the source broke; faults wait."""

    why: str


class LinkBack(msgspec.Struct, frozen=True, tag=True):
    """The source answers again."""


class Reinstalled(msgspec.Struct, frozen=True, tag=True):
    """Somebody had replaced memory of a region, and it is registered again."""

    base: int


class RegionLost(msgspec.Struct, frozen=True, tag=True):
    """Memory of a region is not registered any more, and cannot be."""

    base: int
    why: str


class Traced(msgspec.Struct, frozen=True, tag=True):
    """A debugger has attached to a paged process, or detached: it sees errors in place of pages that are missing."""

    pid: int | None
    """Of the debugger."""


class TargetGone(msgspec.Struct, frozen=True, tag=True):
    """A paged process has ended."""

    pid: int


class PagerEnded(msgspec.Struct, frozen=True, tag=True):
    """The pager has ended without being told to; pages that are missing do not come any more."""

    why: str


PagerEvent = (
    Resident | BadPage | LinkLost | LinkBack | Reinstalled | RegionLost | Traced | TargetGone | PagerEnded
)


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request."""

    id: int
    refused: str | None
    """Why; None when it was done."""


def encode_request(kind: int, id_: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> bytes:
    """A request to the pager."""
    return _MESSAGE.pack(kind, id_, a, b, c, d, b"")


def decode_message(data: bytes) -> Reply | PagerEvent:
    """What the pager says.

    Raises:
        InternalError: No pager says that.
    """
    if len(data) != MESSAGE_BYTES:
        raise InternalError(f"a message of {len(data)} bytes from the pager")
    kind, id_, a, *_, text = _MESSAGE.unpack(data)
    words = text.partition(b"\0")[0].decode(errors="replace")
    if kind == lib.KTP_DONE:
        return Reply(id_, None)
    if kind == lib.KTP_REFUSED:
        return Reply(id_, words)
    event = _event(kind, a, words)
    if event is None:
        raise InternalError(f"a message of unknown kind {kind} from the pager")
    return event


def _event(kind: int, a: int, words: str) -> PagerEvent | None:
    known: dict[int, PagerEvent] = {
        lib.KTP_RESIDENT: Resident(),
        lib.KTP_BAD_PAGE: BadPage(a, words),
        lib.KTP_LINK_LOST: LinkLost(words),
        lib.KTP_LINK_BACK: LinkBack(),
        lib.KTP_REINSTALLED: Reinstalled(a),
        lib.KTP_REGION_LOST: RegionLost(a, words),
        lib.KTP_TRACED: Traced(a or None),
        lib.KTP_TARGET_GONE: TargetGone(a),
    }
    return known.get(kind)


def ended(status: int, said: str) -> PagerEnded:
    """The event of a pager that ended by itself.

    Args:
        status: As `subprocess.Popen.returncode`.
        said: What it wrote to standard error.
    """
    how = f"signal {-status}" if status < 0 else f"exit status {os.waitstatus_to_exitcode(status << 8)}"
    return PagerEnded(f"the pager ended with {how}{': ' if said else ''}{said.strip()}")
