"""What travels between a run that has snapshots and whoever looks at them from another machine.

A message is its length (u32, little-endian) and a MessagePack map with its type. Requests are small, and so an end that
is sent nonsense knows it after a few bytes. Pages travel as they are stored, packed; whoever asked unpacks each and
compares it with the digest by which it asked, so nothing that comes has to be believed.
"""

from __future__ import annotations

import struct
from typing import Annotated

import msgspec

from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES
from ktstr_tui.memory.snapshot import MAX_FILE_BYTES, SnapshotInfo
from ktstr_tui.model.errors import HostError

SOCKET_NAME = "snapshots.sock"
"""Beside the other sockets of a run."""
MAX_PAGES = 256
"""In one request."""
MAX_REQUEST_BYTES = 16 << 10
MAX_ANSWER_BYTES = MAX_FILE_BYTES + (1 << 20)
LENGTH = struct.Struct("<I")
_Stored = Annotated[bytes, msgspec.Meta(max_length=PAGE_BYTES)]


class ListStored(msgspec.Struct, frozen=True, tag="list"):
    """Asks which snapshots there are."""


class GetFile(msgspec.Struct, frozen=True, tag="file"):
    """Asks for the file of a snapshot, which names its pages."""

    name: str


class GetPages(msgspec.Struct, frozen=True, tag="pages"):
    """Asks for pages."""

    digests: Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=MAX_PAGES * DIGEST_BYTES)]
    """One behind the other; none of a page of zeros."""


Asked = ListStored | GetFile | GetPages


class StoredOne(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of the run."""

    name: str
    kept: bool
    info: SnapshotInfo | None
    """None when it is damaged."""
    problem: str = ""
    """What is wrong with it."""


class Listing(msgspec.Struct, frozen=True, tag="listing"):
    """The answer to `ListStored`."""

    run: str
    run_id: str
    snapshots: tuple[StoredOne, ...]
    """Oldest first."""


class FileBytes(msgspec.Struct, frozen=True, tag="file-bytes"):
    """The answer to `GetFile`."""

    data: bytes


class StoredPages(msgspec.Struct, frozen=True, tag="stored-pages"):
    """The answer to `GetPages`."""

    pages: Annotated[tuple[_Stored | None, ...], msgspec.Meta(max_length=MAX_PAGES)]
    """As they are stored, in the order of the request; None for one that cannot be read there."""


class NotDone(msgspec.Struct, frozen=True, tag="not-done"):
    """The answer to what cannot be done."""

    message: str
    hint: str = ""


Answer = Listing | FileBytes | StoredPages | NotDone


_ASKED: msgspec.msgpack.Decoder[Asked] = msgspec.msgpack.Decoder(Asked)
_ANSWER: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class MessageError(HostError):
    """The other end sent what is no message."""


def encode(message: Asked | Answer) -> bytes:
    """A message with its length."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_asked(body: bytes) -> Asked:
    """A request without its length.

    Raises:
        MessageError: It is none.
    """
    try:
        return _ASKED.decode(body)
    except msgspec.MsgspecError as error:
        raise MessageError(
            f"not a request for snapshots: {error}", "use the same version of ktstr-tui"
        ) from error


def decode_answer(body: bytes) -> Answer:
    """An answer without its length.

    Raises:
        MessageError: It is none.
    """
    try:
        return _ANSWER.decode(body)
    except msgspec.MsgspecError as error:
        raise MessageError(
            f"not an answer about snapshots: {error}", "use the same version of ktstr-tui on both machines"
        ) from error
