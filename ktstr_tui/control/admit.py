"""The one gate before anything is done: first tries and retries go through it alike.

Whoever is let in may hold a reservation, which is given back under the number of the action that took it, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import msgspec

from ktstr_tui.model.control import PendingAction


class Admit(msgspec.Struct, frozen=True):
    """Do it now."""


class Defer(msgspec.Struct, frozen=True):
    """Try it again later."""

    after_s: float
    reason: str


class Gate(msgspec.Struct, frozen=True):
    """Give it up."""

    reason: str


Verdict: TypeAlias = Admit | Defer | Gate
Rule: TypeAlias = Callable[[PendingAction], Verdict | None]
"""Judges an action; None when it has nothing to say of it."""


class AdmitGate(Protocol):
    """Lets actions through."""

    def admit(self, pending: PendingAction) -> Verdict:
        """Judge an action; on `Admit` what it needs is reserved under its number."""
        ...

    def release(self, action_id: int) -> None:
        """Give back what was reserved for an action."""
        ...


class RuleGate:
    """A gate made of rules, with a limit on how many actions of a kind run at a time.

    Args:
        rules: Asked in order; the first that has something to say decides.
        limits: By kind, how many may run at a time.
        again_s: How long to wait for a place.
    """

    def __init__(
        self, rules: tuple[Rule, ...] = (), limits: dict[str, int] | None = None, again_s: float = 0.05
    ) -> None:
        self._rules = rules
        self._limits = limits or {}
        self._again_s = again_s
        self._reserved: dict[int, str] = {}

    def admit(self, pending: PendingAction) -> Verdict:
        """Judge an action."""
        for rule in self._rules:
            verdict = rule(pending)
            if verdict is not None:
                return verdict
        kind = pending.action.kind
        limit = self._limits.get(kind)
        if limit is not None:
            if sum(it == kind for it in self._reserved.values()) >= limit:
                return Defer(self._again_s, f"{limit} {kind} at a time")
            self._reserved[pending.id] = kind
        return Admit()

    def release(self, action_id: int) -> None:
        """Give back what was reserved for an action."""
        self._reserved.pop(action_id, None)

    @property
    def reserved(self) -> dict[int, str]:
        """Kind of each reservation by the number of its action."""
        return dict(self._reserved)
