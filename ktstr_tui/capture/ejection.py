"""How far the capturing of the loaded scheduler's end has come.

::

    IDLE ──early capture──▶ TOOK_EARLY ──┐
      │                                  ├──ejection captured──▶ DONE
      └──────────────────────────────────┘
    any state ──another scheduler is attached──▶ IDLE

It belongs to the capture of errors alone: captures on demand neither change it nor ask for it. The inspector of stops
owns the record and is the only one to change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FreezeState(Enum):
    """How far the capturing of the loaded scheduler's end has come."""

    IDLE = "idle"
    TOOK_EARLY = "took-early"
    DONE = "done"


@dataclass(eq=False, slots=True)
class Ejection:
    """What is known of the loaded scheduler's end."""

    state: FreezeState = FreezeState.IDLE
    life: int = 0
    """Schedulers attached so far."""
    early_tag: str | None = None
    """The early capture, which goes with the end of this scheduler."""
    left: str = ""
    """How the scheduler left, if it was not ejected."""
    missed_one: bool = False
    """Whether a degraded capture was made of an ejection that no stop reported."""
    shown: bool = False
    """Whether the alert of an ejection is active; it stays until another scheduler is attached."""

    def took_early(self, tag: str) -> None:
        """Note the early capture."""
        self.state, self.early_tag = FreezeState.TOOK_EARLY, tag

    def captured(self) -> None:
        """Note that the ejection was captured."""
        self.state, self.shown = FreezeState.DONE, True

    def missed(self) -> None:
        """Note that only a degraded capture could be made; a whole one may still follow."""
        self.missed_one = self.shown = True

    def take_early(self) -> str | None:
        """Return the early capture if no ejection followed it, and forget it."""
        tag, self.early_tag = self.early_tag, None
        return tag if self.state is FreezeState.TOOK_EARLY else None

    def begin(self) -> bool:
        """Start over for another scheduler; returns whether the alert of an ejection is to be cleared."""
        shown, self.shown = self.shown, False
        self.state, self.left, self.missed_one = FreezeState.IDLE, "", False
        self.life += 1
        return shown
