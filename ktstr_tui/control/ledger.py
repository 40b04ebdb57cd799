"""Where every action is: nothing leaves the books without a count and a name.

An action is in exactly one place at any time, so ``emitted = done + failed + dropped + deferred + in flight``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal, TypeAlias

from ktstr_tui.model import events as ev
from ktstr_tui.model.control import ActionCounts, Disposition, PendingAction

End: TypeAlias = Literal["done", "failed", "gated", "dropped"]


class Ledger:
    """Keeps where each action is, and says so on the stream.

    Args:
        emit: Takes events.
    """

    def __init__(self, emit: Callable[[ev.Event], object]) -> None:
        self._emit = emit
        self._open: dict[int, Literal["deferred", "in-flight"]] = {}
        self._ended: Counter[str] = Counter()
        self._emitted = 0
        self._deferrals = 0
        self.dropped_kinds: Counter[str] = Counter()
        """Actions that were given up, by kind."""
        self.failed_kinds: Counter[str] = Counter()
        """Actions that failed, by kind."""

    def emitted(self, pending: PendingAction) -> None:
        """Enter an action."""
        self._emitted += 1
        self._open[pending.id] = "in-flight"
        self._say(pending, "emitted")

    def deferred(self, pending: PendingAction, reason: str) -> None:
        """Note that it waits for another try."""
        self._open[pending.id] = "deferred"
        self._deferrals += 1
        self._say(pending, "deferred", reason)

    def tried_again(self, pending: PendingAction) -> None:
        """Note that its next try has come."""
        self._open[pending.id] = "in-flight"

    def ended(self, pending: PendingAction, how: End, reason: str = "", error: str = "") -> None:
        """Note its end."""
        if self._open.pop(pending.id, None) is None:
            return
        self._ended[how] += 1
        if how == "failed":
            self.failed_kinds[pending.action.kind] += 1
        elif how != "done":
            self.dropped_kinds[pending.action.kind] += 1
        self._say(pending, how, reason, error)

    def counts(self) -> ActionCounts:
        """Where all actions are."""
        deferred = sum(where == "deferred" for where in self._open.values())
        return ActionCounts(
            emitted=self._emitted,
            done=self._ended["done"],
            failed=self._ended["failed"],
            dropped=self._ended["dropped"] + self._ended["gated"],
            deferred=deferred,
            in_flight=len(self._open) - deferred,
        )

    @property
    def gated(self) -> int:
        """Those among the dropped that the admit gate refused."""
        return self._ended["gated"]

    @property
    def deferrals(self) -> int:
        """How often an action was put off."""
        return self._deferrals

    def drops(self) -> dict[str, int]:
        """Return the actions that were given up or failed, by kind."""
        return {
            **{f"action-dropped: {kind}": count for kind, count in self.dropped_kinds.items()},
            **{f"action-failed: {kind}": count for kind, count in self.failed_kinds.items()},
        }

    def _say(
        self, pending: PendingAction, disposition: Disposition, reason: str = "", error: str = ""
    ) -> None:
        self._emit(
            ev.ActionChanged(
                id=pending.id,
                action=pending.action,
                disposition=disposition,
                reason=reason,
                error=error,
                command_seq=pending.command_seq,
            )
        )
