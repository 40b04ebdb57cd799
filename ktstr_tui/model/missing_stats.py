"""Say why a capture carries no statistics of the scheduler."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

MissingReason: TypeAlias = Literal[
    "no scheduler binary", "no scheduler", "during freeze", "cancelled", "timeout", "relay", "refused"
]


class MissingStats(msgspec.Struct, frozen=True):
    """Why a capture carries no scheduler statistics."""

    reason: MissingReason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
