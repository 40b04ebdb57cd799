"""Who may do what to a run.

The sockets of a run are open to its user alone, so whoever reaches them may look. Touching the run needs
control, which the run's owner can withhold from everyone (a demonstration, a run that must not be disturbed).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ktstr_tui.model.commands import HELD_REQUESTS, READING_REQUESTS, Command, Reply
from ktstr_tui.model.control import HoldState
from ktstr_tui.model.errors import KtstrError, UsageError


class Authority:
    """Decides whether a command may be carried out.

    Args:
        control: Whether viewers may touch the run at all.
    """

    def __init__(self, *, control: bool = True) -> None:
        self._control = control
        self._refused = 0

    def check(self, command: Command, hold: HoldState | None = None) -> None:
        """Return when ``command`` may be carried out.

        Args:
            command: What is asked for.
            hold: The hold on automation that is in effect; None without one.

        Raises:
            UsageError: The run gives no control, or automation is held.
        """
        try:
            self._decide(command, hold)
        except UsageError:
            self._refused += 1
            raise

    def guard(self, handle: Callable[[Command], Awaitable[Reply]]) -> Callable[[Command], Awaitable[Reply]]:
        """A handler that asks this authority first and turns known errors into replies."""

        async def guarded(command: Command) -> Reply:
            try:
                self.check(command)
                return await handle(command)
            except KtstrError as error:
                return command.failed(error)

        return guarded

    def drops(self) -> dict[str, int]:
        """Return the commands that were refused."""
        return {"commands-refused": self._refused}

    @property
    def control(self) -> bool:
        """Whether viewers may touch the run at all."""
        return self._control

    def _decide(self, command: Command, hold: HoldState | None) -> None:
        if not self._control and not isinstance(command.request, READING_REQUESTS):
            raise UsageError(
                f"this run does not allow viewers to control it: {command.name} is refused",
                "run --viewers control",
            )
        if hold is not None and not isinstance(command.request, HELD_REQUESTS):
            reason = f" ({hold.reason})" if hold.reason else ""
            raise UsageError(
                f"automation is held by {hold.by}{reason}: {command.name} is refused",
                "wait until the hold ends, or end it: ktstr-tui automation resume",
            )
