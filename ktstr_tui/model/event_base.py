"""What every event of a run has: its number on the stream, and when it was."""

from __future__ import annotations

import msgspec


class RunEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all events."""

    seq: int = 0
    mono_ns: int = 0
    guest_ns: int | None = None
