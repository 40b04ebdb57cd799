"""What is put into a guest: files, and schedulers with theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ktstr_tui.wire.user_file import read_user_file

MAX_FILE_BYTES = 256 << 20
"""Largest file that is put into a guest; all of them lie in its memory."""
NO_SCHEDULER = "none"
"""The name that stands for the kernel's own scheduler."""


class GuestFile(msgspec.Struct, frozen=True):
    """A file to be put into the guest."""

    source: bytes | Path
    mode: int = 0o644
    """Permission bits."""

    def read(self) -> bytes:
        """The content.

        Raises:
            UsageError: The host's file cannot be read, is no regular file, or is too large.
        """
        if isinstance(self.source, bytes):
            return self.source
        return read_user_file(self.source, "file for the guest", max_bytes=MAX_FILE_BYTES)


class SchedulerPayload(msgspec.Struct, frozen=True):
    """A scheduler with its files."""

    name: str
    """As shown to people: ``none``, ``demo:fifo``, or the file's name."""
    kind: Literal["none", "object", "program"]
    files: dict[str, GuestFile]
    """By absolute path in the guest."""
    argv: tuple[str, ...]
    """For an object: its path in the guest. For a program: its path and arguments."""
