"""Who looks at a run, and how that is proven: by the kernel on a local socket, or by a signature."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import time
from functools import lru_cache
from typing import Protocol

import msgspec

from ktstr_tui.model.commands import Request
from ktstr_tui.model.signing import NONCE_BYTES, OperatorSignature, Peer, Signed, payload


class Signer(Protocol):
    """The key of a person."""

    operator: str

    def sign(self, data: bytes) -> OperatorSignature:
        """Sign some bytes."""
        ...


def sign(request: Request, run_id: str, signer: Signer, affected: bytes = b"") -> Signed:
    """Sign a request for one run, now.

    Args:
        request: What is asked for.
        run_id: Of the run.
        signer: The first to sign it.
        affected: Hash of a dry run; empty without one.
    """
    unsigned = Signed(
        run_id=run_id,
        issued_ms=time.time_ns() // 1_000_000,
        nonce=secrets.token_bytes(NONCE_BYTES),
        affected=affected,
    )
    return sign_too(request, unsigned, signer)


def sign_too(request: Request, signed: Signed, signer: Signer) -> Signed:
    """Add one more signature."""
    others = tuple(it for it in signed.signatures if it.operator != signer.operator)
    more = signer.sign(payload(signed, request))
    return msgspec.structs.replace(signed, signatures=(*others, more))


def login_at_host() -> str:
    """Name the operator for logs: ``root@build-7``; the number of a user who has no name."""
    return f"{login_of(os.getuid())}@{socket.gethostname()}"


@lru_cache(maxsize=64)
def login_of(uid: int) -> str:
    """Name of a user; ``uid 1000`` for one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def peer_of(address: str) -> Peer | None:
    """Who is at the other end of a unix socket, from what `zsocket.TrioSocket.receive_from` says; None for others."""
    parts = address.rsplit(":", 3)
    if len(parts) != 4 or not all(it.isdecimal() for it in parts[1:]):
        return None
    uid, _gid, pid = map(int, parts[1:])
    return Peer(uid=uid, pid=pid, login=login_of(uid))
