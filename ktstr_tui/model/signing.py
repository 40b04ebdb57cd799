"""What proves who asks for something: the peer of a local socket, or signatures of operators.

All signatures of a command are made over the same bytes (`payload`): the run that it is meant for, when it was made, a
number that is used once, the hash of what it would affect, and the request itself. So none of them is good for another
run, for another time or for another request.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, TypeAlias

import msgspec

SIGNED_FOR = b"ktstr-tui.command.v1\0"
"""Before everything that is signed, so that a signature is good for nothing else."""
MAX_AGE_MS = 300_000
"""How old a signed command may be when it arrives."""
MAX_AHEAD_MS = 30_000
"""How far the clock of whoever signed may be ahead of ours."""
NONCE_BYTES = 16
HASH_BYTES = 32
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32
MAX_SIGNATURES = 16
MAX_OPERATOR_CHARACTERS = 64

OperatorName: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_OPERATOR_CHARACTERS, pattern=r"^[A-Za-z0-9._-]+$")
]
Role: TypeAlias = Literal["observe", "control"]
"""What an operator may do: only look, or touch the run."""
Proof: TypeAlias = Literal["claimed", "peer", "signed"]
"""How the name of whoever asks is known: the sender said so; the kernel told the user at the other end of the local
socket; a signature proves it."""
Refusal: TypeAlias = Literal[
    "held",
    "no-control",
    "not-signed",
    "dry-run-required",
    "other-run",
    "expired",
    "from-the-future",
    "replayed",
    "too-soon",
    "unknown-operator",
    "bad-signature",
    "only-observes",
    "too-few-operators",
    "effect-changed",
    "busy",
    "invalid",
]
"""Why a command was refused."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The process at the other end of a local socket, as the kernel tells it."""

    uid: int
    pid: int
    login: str
    """Name of the user; ``uid 1000`` for one without a name."""


class OperatorSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signature of one operator."""

    operator: OperatorName
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
    """Ed25519 (RFC 8032)."""


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose signature counts."""

    name: OperatorName
    key: bytes
    """Ed25519 public key, `PUBLIC_KEY_BYTES` long."""
    role: Role = "control"


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a command is signed with."""

    run_id: Annotated[str, msgspec.Meta(max_length=256)]
    """Of the run that it is meant for, random per start."""
    issued_ms: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    """Wall time, in milliseconds since 1970."""
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    """Random; good once."""
    affected: Annotated[bytes, msgspec.Meta(max_length=HASH_BYTES)] = b""
    """`Affected.digest` of the dry run that was signed; empty without one."""
    signatures: Annotated[tuple[OperatorSignature, ...], msgspec.Meta(max_length=MAX_SIGNATURES)] = ()


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would affect: the answer to a dry run."""

    request: str
    """Its name."""
    what: tuple[str, ...]
    """A line each; what changes by itself while nothing is done is not in it, or no hash would ever fit."""
    warnings: tuple[str, ...] = ()

    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).digest()


def payload(signed: Signed, request: msgspec.Struct) -> bytes:
    """The bytes that every operator signs."""
    run_id = signed.run_id.encode()
    return b"".join(
        (
            SIGNED_FOR,
            signed.issued_ms.to_bytes(8, "little"),
            signed.nonce,
            signed.affected.rjust(HASH_BYTES, b"\0"),
            len(run_id).to_bytes(2, "little"),
            run_id,
            msgspec.msgpack.encode(request),
        )
    )
