"""How a run ends: the first cause wins, and the kernel's ejections decide between 0 and 1."""

from __future__ import annotations

import msgspec
import trio

from ktstr_tui.model.errors import EXIT_EJECTED, EXIT_OK, GuestError, KtstrError


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run; ``error`` is None when it ended as asked."""

    reason: str
    error: KtstrError | None = None

    def exit_code(self, ejections: int) -> int:
        """The process's exit code, given how many ejections were not made good by a restart."""
        if self.error is not None:
            return self.error.exit_code
        return EXIT_EJECTED if ejections else EXIT_OK

    @property
    def console_tail(self) -> tuple[str, ...]:
        """The guest's last console lines, when the guest is at fault."""
        return self.error.console_tail if isinstance(self.error, GuestError) else ()


class RunEnd:
    """A set-once outcome that tasks wait for."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self.outcome: RunOutcome | None = None

    def set(self, reason: str, error: KtstrError | None = None) -> None:
        """End the run; only the first call counts."""
        if self.outcome is None:
            self.outcome = RunOutcome(reason=reason, error=error)
            self._event.set()

    async def wait(self) -> RunOutcome:
        """Wait until the run is to end."""
        while (outcome := self.outcome) is None:
            await self._event.wait()
        return outcome
