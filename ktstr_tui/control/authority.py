"""Who may do what to a run.

The sockets of a run are open to its user alone, so whoever reaches them may look. Touching the run needs
control, which the run's owner can withhold from everyone (a demonstration, a run that must not be disturbed). Where the
sockets are forwarded from elsewhere, the kernel knows the user of this end only; a run that wants signatures knows who
is at the other end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ktstr_tui.control.signatures import Verifier
from ktstr_tui.model.commands import HELD_REQUESTS, READING_REQUESTS, Command, Reply
from ktstr_tui.model.control import HoldState
from ktstr_tui.model.errors import KtstrError, RefusedError
from ktstr_tui.model.signing import Affected, Proof


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and how that is known."""

    operator: str
    proof: Proof


class Authority:
    """Decides whether a command may be carried out.

    Args:
        control: Whether viewers may touch the run at all.
        verifier: Checks signatures; None in a run that wants none.
    """

    def __init__(self, *, control: bool = True, verifier: Verifier | None = None) -> None:
        self._control = control
        self._verifier = verifier
        self._refused = 0

    def check(self, command: Command, hold: HoldState | None = None) -> Identity:
        """Say who asks, when ``command`` may be carried out.

        Args:
            command: What is asked for.
            hold: The hold on automation that is in effect; None without one.

        Raises:
            RefusedError: The run gives no control, automation is held, or the signatures are not good.
        """
        try:
            return self._decide(command, hold)
        except RefusedError:
            self._refused += 1
            raise

    def check_effect(self, command: Command, affected: Affected) -> str:
        """Compare what a command affects now with what was signed.

        Args:
            command: One that `needs_dry_run`, and was checked.
            affected: What a dry run says now.

        Returns:
            The hash, in hex, for whoever looks again before it is done.

        Raises:
            RefusedError: It is something else.
        """
        signed = command.signed
        if signed is None or signed.affected != affected.digest():
            self._refused += 1
            text = f"{command.name} would affect something else than what was signed"
            raise RefusedError(text, "look at it again: ktstr-tui operator propose", "effect-changed")
        if self._verifier is not None:
            self._verifier.carried_out(command)
        return affected.digest().hex()

    def needs_dry_run(self, command: Command) -> bool:
        """Whether `check_effect` has to be asked as well."""
        return self._verifier is not None and self._verifier.needs_dry_run(command)

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

    @property
    def controllers(self) -> tuple[str, ...] | None:
        """The operators that may touch it; None when no signature is wanted."""
        return None if self._verifier is None else self._verifier.controllers

    def _decide(self, command: Command, hold: HoldState | None) -> Identity:
        touches = not isinstance(command.request, READING_REQUESTS)
        if not self._control and touches:
            raise RefusedError(
                f"this run does not allow viewers to control it: {command.name} is refused",
                "run --viewers control",
                "no-control",
            )
        if hold is not None and not isinstance(command.request, HELD_REQUESTS):
            reason = f" ({hold.reason})" if hold.reason else ""
            raise RefusedError(
                f"automation is held by {hold.by}{reason}: {command.name} is refused",
                "wait until the hold ends, or end it: ktstr-tui automation resume",
                "held",
            )
        if self._verifier is not None and touches:
            return Identity(operator=self._verifier.verify(command), proof="signed")
        return identify(command)


def identify(command: Command) -> Identity:
    """Who asks, as far as that is known without a signature."""
    peer, label = command.peer, command.viewer
    if peer is None:
        return Identity(operator=command.who, proof="claimed")
    if not label or label.partition("@")[0] == peer.login:
        return Identity(operator=label or peer.login, proof="peer")
    # A forwarded socket, or a program that calls itself something else: both names are of use.
    return Identity(operator=f"{peer.login} ({label})", proof="peer")
