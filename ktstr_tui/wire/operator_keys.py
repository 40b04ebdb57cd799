"""Files of operators: a person's own secret key, and the list of those whose signatures a run takes.

Both are TOML and small enough to be read by eye. A secret key is good for nobody else, so its file is refused when
others can read it. The list holds public keys only:

    [operators.ada]
    key = "base64 of 32 bytes"
    role = "control"          # or "observe"
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.signing import PUBLIC_KEY_BYTES, Operator, OperatorName, OperatorSignature, Role
from ktstr_tui.wire.toml_file import parse_toml
from ktstr_tui.wire.user_file import read_user_text

MAX_FILE_BYTES = 64 << 10
SECRET_BYTES = 32


class OperatorKey:
    """The key of a person.

    Args:
        name: Of the operator.
        secret: Ed25519 secret key, 32 bytes.
    """

    def __init__(self, name: str, secret: bytes) -> None:
        self.operator = name
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @property
    def public(self) -> bytes:
        """The public key."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes) -> OperatorSignature:
        """Sign some bytes."""
        return OperatorSignature(operator=self.operator, signature=self._key.sign(data))

    def listed(self, role: Role = "control") -> str:
        """The lines for a run's list of operators."""
        key = base64.b64encode(self.public).decode()
        return f'[operators."{self.operator}"]\nkey = "{key}"\nrole = "{role}"\n'


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: OperatorName
    secret: str


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    role: Role = "control"


class _OperatorsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    operators: dict[OperatorName, _Entry]


def write_operator_key(path: Path, name: str) -> OperatorKey:
    """Make a key and keep it in a new file that only its owner can read.

    Raises:
        UsageError: The name is none, or the file is there already.
        HostError: It cannot be written.
    """
    try:
        msgspec.convert(name, OperatorName)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{name!r} cannot be the name of an operator: {error}",
            "use letters, digits, dot, dash, underscore",
        ) from error
    secret = os.urandom(SECRET_BYTES)
    text = f'# The secret key of an operator: keep it to yourself.\nname = "{name}"\nsecret = "{_base64(secret)}"\n'
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} is there already", "name another file, or move it away") from None
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}", "name another file") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return OperatorKey(name, secret)


def read_operator_key(path: Path) -> OperatorKey:
    """Read a secret key.

    Raises:
        UsageError: It is none, cannot be read, or can be read by others.
    """
    text = read_user_text(
        path, "key of an operator", "ktstr-tui operator new makes one", max_bytes=MAX_FILE_BYTES
    )
    if path.stat().st_mode & 0o077:
        raise UsageError(f"others can read the secret key {path}", f"chmod 600 {path}")
    try:
        found = msgspec.convert(parse_toml(text, str(path)), _KeyFile)
        return OperatorKey(found.name, _bytes(found.secret, SECRET_BYTES))
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(
            f"{path} holds no key of an operator: {error}", "ktstr-tui operator new makes one"
        ) from error


def read_operators(path: Path) -> tuple[Operator, ...]:
    """Read the list of operators, by name.

    Raises:
        UsageError: It is none, or names nobody.
    """
    hint = "ktstr-tui operator show prints what belongs into it"
    text = read_user_text(path, "list of operators", hint, max_bytes=MAX_FILE_BYTES)
    try:
        found = msgspec.convert(parse_toml(text, str(path)), _OperatorsFile).operators
        operators = tuple(
            Operator(name=name, key=_bytes(it.key, PUBLIC_KEY_BYTES), role=it.role)
            for name, it in sorted(found.items())
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{path} holds no list of operators: {error}", hint) from error
    if not any(it.role == "control" for it in operators):
        raise UsageError(f"{path} names no operator who may control the run", hint)
    if len({it.key for it in operators}) != len(operators):
        raise UsageError(f"{path} names one key for two operators", "one person would count as two")
    return operators


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if len(data) != length:
        raise ValueError(f"a key of {len(data)} bytes, not {length}")
    return data
