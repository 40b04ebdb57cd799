"""The time in which what was affected a moment ago is not affected again by a dangerous command.

There is one list for all: the whole run contains every place in it. So a write is refused after a command that
concerned the whole run, and the other way round.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ktstr_tui.model.commands import Request, RunKernelOp

COOLDOWN_MS = 5_000
WHOLE_RUN: frozenset[str] = frozenset()
"""Everything."""
Targets: TypeAlias = frozenset[str]


def targets_of(request: Request) -> Targets:
    """What a dangerous request concerns; `WHOLE_RUN` for all of it."""
    if not isinstance(request, RunKernelOp):
        return WHOLE_RUN
    entries = request.op.get("entries")
    if not isinstance(entries, (list, tuple)):
        return WHOLE_RUN
    return frozenset(
        msgspec.json.encode(it["target"]).decode() if isinstance(it, dict) and "target" in it else ""
        for it in entries
    )


class Cooldown:
    """Knows until when what is left alone."""

    def __init__(self, period_ms: int = COOLDOWN_MS) -> None:
        self._period_ms = period_ms
        self._until: dict[Targets, int] = {}

    def begin(self, targets: Targets, now_ms: int) -> None:
        """Leave these alone from now on."""
        self._until = {it: until for it, until in self._until.items() if until > now_ms}
        self._until[targets] = now_ms + self._period_ms

    def wait_ms(self, targets: Targets, now_ms: int) -> int:
        """How long to wait; 0 when nothing is in the way."""
        waits = (
            until - now_ms
            for it, until in self._until.items()
            if it == WHOLE_RUN or targets == WHOLE_RUN or it & targets
        )
        return max(0, *waits, 0)
