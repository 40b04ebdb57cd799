"""What is put into a guest: files, and schedulers with theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from ktstr_tui.model.errors import HostError

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
            HostError: The host's file cannot be read.
        """
        if isinstance(self.source, bytes):
            return self.source
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise HostError(f"{self.source} cannot be read: {error.strerror}") from error


class SchedulerPayload(msgspec.Struct, frozen=True):
    """A scheduler with its files."""

    name: str
    """As shown to people: ``none``, ``demo:fifo``, or the file's name."""
    kind: Literal["none", "object", "program"]
    files: dict[str, GuestFile]
    """By absolute path in the guest."""
    argv: tuple[str, ...]
    """For an object: its path in the guest. For a program: its path and arguments."""
