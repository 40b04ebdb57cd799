"""What a viewer asks of a backend, and what it gets back.

A request carries a number chosen by the asker; the reply repeats it, so that a slow capture and a quick
snapshot may overtake each other. A reply that failed carries the three things every error has: message, hint,
fault.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.errors import GuestError, HostError, InternalError, KtstrError, UsageError

LINK_COMMANDS = frozenset({"ping", "snapshot", "range", "status"})
"""Answered by the publisher itself; they only read."""
RUN_COMMANDS = frozenset(
    {"capture", "freeze", "thaw", "end", "watch", "unwatch", "rewatch", "watches", "kernel-op"}
)
"""Passed on to the backend; they touch the run."""

_FAULTS: dict[str, type[KtstrError]] = {"user": UsageError, "host": HostError, "guest": GuestError}


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a reply."""

    message: str
    hint: str = ""
    fault: str = "bug"

    def to_error(self) -> KtstrError:
        """The exception that this failure was."""
        return _FAULTS.get(self.fault, InternalError)(self.message, self.hint)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a `Command`."""

    id: int
    """That of the command."""
    run_id: str = ""
    """Of the backend that answered; it tells a restarted backend from the one before."""
    seq: int = 0
    """The stream's newest event when the answer was given."""
    mono_ns: int = 0
    """The backend's clock when the answer was given."""
    result: dict[str, Any] = {}
    error: Failure | None = None

    @property
    def ok(self) -> bool:
        """Whether the command was carried out."""
        return self.error is None

    def raise_for_error(self) -> Reply:
        """Return the reply itself.

        Raises:
            KtstrError: The command failed; the class says whose fault it is.
        """
        if self.error is not None:
            raise self.error.to_error()
        return self


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    id: int
    name: str
    """One of `LINK_COMMANDS` or `RUN_COMMANDS`."""
    args: dict[str, Any] = {}
    viewer: str = ""
    """Who asks, for the log; not proof of anything."""

    def done(self, **result: object) -> Reply:
        """The reply of success; ``result`` must be plain values."""
        return Reply(id=self.id, result=result)

    def failed(self, error: KtstrError) -> Reply:
        """The reply that carries ``error``."""
        return Reply(
            id=self.id, error=Failure(message=error.message, hint=error.hint, fault=type(error).fault)
        )
