"""What an observer notices. Times are in ns on its own clock (`ktstr_tui.heartbeat.clock`)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.wire.vlp import Beat


class _Noticed(msgspec.Struct, frozen=True, kw_only=True):
    observer_ns: int


class BeatHeard(_Noticed, frozen=True, kw_only=True):
    """A beat was accepted. Noticed one by one only where that was asked for."""

    beat: Beat
    origin: Origin


class SenderStalled(_Noticed, frozen=True, kw_only=True):
    """A sender was silent for the threshold; once for each silence."""

    pid: int
    last_nonce: int
    last_ns: int
    origin: Origin
    pid_ns_inode: int | None = None
    generation: int | None = None
    never_heard: bool = False
    """It was expected to beat and never did; ``last_ns`` is when it was first expected."""


class SenderRecovered(_Noticed, frozen=True, kw_only=True):
    """A stalled sender beats again."""

    pid: int
    silent_ns: int
    """The whole silence."""


class DecodeFailed(_Noticed, frozen=True, kw_only=True):
    """A datagram that is no beat."""

    kind: str
    """Of `VlpError`, or of `SecureError`."""
    sender_pid: int | None = None
    """The attested sender."""


class AuthFailed(_Noticed, frozen=True, kw_only=True):
    """A beat in another's name, by another user, or played again."""

    claimed_pid: int
    sender_pid: int | None = None
    sender_uid: int | None = None
    reason: str
    """``pid``, ``uid``, ``aead`` or ``replay``."""


class OriginConflicted(_Noticed, frozen=True, kw_only=True):
    """A beat came by another transport than those of the same pid before."""

    claimed_pid: int
    observed: Origin


class NamespaceConflicted(_Noticed, frozen=True, kw_only=True):
    """A beat came from another pid namespace than the observer's, or than those of the same pid before."""

    claimed_pid: int
    observed: int | None
    observer: int | None


class ReceiveFailed(_Noticed, frozen=True, kw_only=True):
    """A socket failed."""

    error: int
    """errno."""


class ControlTruncated(_Noticed, frozen=True, kw_only=True):
    """Datagrams carried more control data (file descriptors) than is taken; they were dropped."""

    count: int


ObserverEvent: TypeAlias = (
    BeatHeard
    | SenderStalled
    | SenderRecovered
    | DecodeFailed
    | AuthFailed
    | OriginConflicted
    | NamespaceConflicted
    | ReceiveFailed
    | ControlTruncated
)
