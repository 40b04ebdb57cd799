"""Events, states, commands and replies as bytes: one version byte, then MessagePack.

Decoding is total: whatever the bytes are, the outcome is a value of the asked type or a `CodecError`. The
types bound the damage (a field that is an int can be nothing else) and the length is checked before anything
is parsed, so a peer can cost at most the memory of the message that it managed to send.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from ktstr_tui.model.commands import MAX_NAME_CHARACTERS, Command, Reply
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event
from ktstr_tui.model.scheduler_swap import MAX_OBJECT_BYTES
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import printable, shorten
from ktstr_tui.wire.layout import layout

VERSION = 2
"""First byte of every message; another value is refused, never guessed at."""
MAX_EVENT_BYTES = 8 << 20
"""An event with a full capture of a large machine is below 2 MiB."""
MAX_STATE_BYTES = 256 << 20
"""A state keeps at most `MAX_CAPTURES` captures."""
MAX_COMMAND_BYTES = MAX_OBJECT_BYTES + (64 << 10)
"""A command may carry the BPF object of a scheduler."""
MAX_REPLY_BYTES = 8 << 20

_T = TypeVar("_T")
_L = TypeVar("_L", Command, Reply)
# Beyond its own errors msgspec lets through what building a key or a string of an untyped value raises.
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError, MemoryError)


class CodecError(KtstrError):
    """Bytes that are not a message of this version, or a value that cannot become one."""


class VersionError(CodecError):
    """A message of another version of the format.

    Args:
        what: The message.
        version: Its first byte.
    """

    def __init__(self, what: str, version: int) -> None:
        super().__init__(
            f"{what} is in version {version} of the format; this program reads version {VERSION}",
            "use the same version of ktstr-tui on both sides",
        )
        self.version = version


class LayoutError(VersionError):
    """A message of a program that knows other messages than this one, in the same version of the format.

    Args:
        what: The message.
        told: The layout that it names.
    """

    def __init__(self, what: str, told: str) -> None:
        super().__init__(what, VERSION)
        self.message = (
            f"{what} has the layout of ktstr-tui {shorten(printable(told), MAX_NAME_CHARACTERS)!r}; "
            f"this program has that of {layout()!r}"
        )


class _Codec(Generic[_T]):
    def __init__(self, what: str, decoder: msgspec.msgpack.Decoder[_T], max_bytes: int) -> None:
        self._what = what
        self._max_bytes = max_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = decoder

    def encode(self, value: _T) -> bytes:
        buffer = bytearray([VERSION])
        try:
            self._encoder.encode_into(value, buffer, 1)
        except _DECODE_ERRORS as error:
            raise CodecError(f"{self._what} cannot be encoded: {error}") from error
        if len(buffer) > self._max_bytes:
            raise CodecError(f"{self._what} has {len(buffer)} bytes; at most {self._max_bytes} are allowed")
        return bytes(buffer)

    def decode(self, data: bytes | memoryview) -> _T:
        if len(data) > self._max_bytes:
            raise CodecError(f"{self._what} has {len(data)} bytes; at most {self._max_bytes} are allowed")
        view = memoryview(data)
        if not view:
            raise CodecError(f"{self._what} is empty")
        if view[0] != VERSION:
            raise VersionError(self._what, view[0])
        try:
            return self._decoder.decode(view[1:])
        except _DECODE_ERRORS as error:
            raise CodecError(f"{self._what} cannot be decoded: {error}") from error


_EVENT: _Codec[Event] = _Codec("an event", msgspec.msgpack.Decoder(Event), MAX_EVENT_BYTES)
_STATE: _Codec[RunState] = _Codec("a run's state", msgspec.msgpack.Decoder(RunState), MAX_STATE_BYTES)
_COMMAND: _Codec[Command] = _Codec("a command", msgspec.msgpack.Decoder(Command), MAX_COMMAND_BYTES)
_REPLY: _Codec[Reply] = _Codec("a reply", msgspec.msgpack.Decoder(Reply), MAX_REPLY_BYTES)


def encode_event(event: Event) -> bytes:
    """One event as bytes.

    Raises:
        CodecError: It is too large, or holds a value that MessagePack lacks (such as an int of 65 bits).
    """
    return _EVENT.encode(event)


def decode_event(data: bytes | memoryview) -> Event:
    """The inverse of `encode_event`.

    Raises:
        CodecError: The bytes are anything else.
    """
    return _EVENT.decode(data)


def encode_state(state: RunState) -> bytes:
    """A whole state as bytes.

    Raises:
        CodecError: It is too large.
    """
    return _STATE.encode(state)


def decode_state(data: bytes | memoryview) -> RunState:
    """The inverse of `encode_state`; the result is private to the caller.

    Raises:
        CodecError: The bytes are anything else.
    """
    return _STATE.decode(data)


def encode_command(command: Command) -> bytes:
    """A command as bytes.

    Raises:
        CodecError: It is too large or has an argument that is no plain value.
    """
    return _COMMAND.encode(command)


def decode_command(data: bytes | memoryview) -> Command:
    """The inverse of `encode_command`.

    Raises:
        CodecError: The bytes are anything else; `VersionError` when they are of another version or layout.
    """
    return _decode_laid(_COMMAND, "a command", data)


class _Laid(msgspec.Struct):
    layout: str = ""


_LAID: _Codec[_Laid] = _Codec("a message", msgspec.msgpack.Decoder(_Laid), MAX_REPLY_BYTES)


def _layout_in(data: bytes | memoryview) -> str:
    """The layout that a message names which is otherwise not one; empty when it names none."""
    try:
        return _LAID.decode(data).layout
    except CodecError:
        return ""


def _check_layout(what: str, told: str) -> None:
    if told and told != layout():
        raise LayoutError(what, told)


def _decode_laid(codec: _Codec[_L], what: str, data: bytes | memoryview) -> _L:
    """Decode a message that names its layout; what is wrong with it is first of all another layout."""
    try:
        message = codec.decode(data)
    except VersionError:
        raise
    except CodecError:
        _check_layout(what, _layout_in(data))
        raise
    _check_layout(what, message.layout)
    return message


class _Numbered(msgspec.Struct):
    id: int


_NUMBERED: _Codec[_Numbered] = _Codec("a command", msgspec.msgpack.Decoder(_Numbered), MAX_COMMAND_BYTES)


def decode_command_id(data: bytes | memoryview) -> int | None:
    """Return the number of a command of any version that is otherwise not one; None when it has none."""
    try:
        # Not by its version: a peer of another version must be answered too.
        return _NUMBERED.decode(bytes([VERSION]) + bytes(data[1:])).id
    except CodecError:
        return None


def encode_reply(reply: Reply) -> bytes:
    """A reply as bytes.

    Raises:
        CodecError: It is too large or its result is no plain value.
    """
    return _REPLY.encode(reply)


def decode_reply(data: bytes | memoryview) -> Reply:
    """The inverse of `encode_reply`.

    Raises:
        CodecError: The bytes are anything else; `VersionError` when they are of another version or layout.
    """
    return _decode_laid(_REPLY, "a reply", data)
