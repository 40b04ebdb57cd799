"""Open files that a user names: whatever is there, it ends in bytes or in a clear refusal, never in a hang.

A path may lead to a FIFO (opening one for reading waits for a writer), a terminal or another device (a read waits,
or never ends), a directory, or a file too large for memory. So a file is opened without blocking, and what was opened,
not what the path says, decides whether it is read. `O_NONBLOCK` has no effect on regular files.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ktstr_tui.model.errors import UsageError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_user_file(path: Path, what: str, hint: str = "", max_bytes: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: The file; links are followed.
        what: What the user calls it, such as ``kernel`` or ``recording``.
        hint: What to do next, for the refusal.
        max_bytes: Largest size that is accepted; None for any.

    Returns:
        The open file. Close it.

    Raises:
        UsageError: It cannot be opened, is no regular file, or is too large.
    """
    hint = hint or f"name a regular file as {what}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot read the {what} {path}: {reason}", hint) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
            raise UsageError(f"cannot read the {what} {path}: it is {kind}", hint)
        if max_bytes is not None and status.st_size > max_bytes:
            raise UsageError(
                f"cannot read the {what} {path}: it has {status.st_size:,} bytes, more than {max_bytes:,}",
                hint,
            )
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_user_file(path: Path, what: str, hint: str = "", *, max_bytes: int) -> bytes:
    """Read a regular file whole.

    Args:
        path: The file; links are followed.
        what: What the user calls it.
        hint: What to do next, for the refusal.
        max_bytes: Largest size that is accepted.

    Raises:
        UsageError: It cannot be read, is no regular file, or is too large, also when it grows meanwhile.
    """
    with open_user_file(path, what, hint, max_bytes) as file:
        try:
            data = file.read(max_bytes + 1)
        except OSError as error:
            raise UsageError(f"cannot read the {what} {path}: {error.strerror}", hint) from error
    if len(data) > max_bytes:
        raise UsageError(f"cannot read the {what} {path}: it has more than {max_bytes:,} bytes", hint)
    return data


def read_user_text(path: Path, what: str, hint: str = "", *, max_bytes: int) -> str:
    """Read a regular file of UTF-8 text whole.

    Raises:
        UsageError: As for `read_user_file`, or it is not UTF-8.
    """
    try:
        return read_user_file(path, what, hint, max_bytes=max_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"cannot read the {what} {path}: it is not UTF-8 text ({error.reason})", hint
        ) from error


def config_dir() -> Path:
    """The directory of what the user has configured: ``${XDG_CONFIG_HOME:-~/.config}/ktstr``; it need not exist."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore relative paths.
    return (Path(configured) if configured.startswith("/") else Path.home() / ".config") / "ktstr"
