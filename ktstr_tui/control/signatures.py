"""Verifies who signed a command, and lets no signature count twice.

The order of the checks: what costs nothing and needs no key comes first, and a command that fails one of them leaves no
trace here. Only one that passes all of them uses up its number and begins the time in which the same thing is not done
again, so that whoever has no key can neither use up a number nor lock anybody out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ktstr_tui.control.cooldown import Cooldown, targets_of
from ktstr_tui.model.commands import Command, is_dangerous
from ktstr_tui.model.errors import RefusedError
from ktstr_tui.model.signing import MAX_AGE_MS, MAX_AHEAD_MS, Operator, Refusal, Signed, payload
from ktstr_tui.model.text import counted

MAX_NUMBERS = 4096
"""Numbers of commands that are kept until they are too old to be played again."""


class Verifier:
    """Decides whether the signatures of a command are good. One for each run.

    Args:
        operators: Whose signatures count.
        run_id: Of the run.
        wall_ms: Tells the wall time, in milliseconds since 1970.
        required: How many operators a dangerous command needs, with a dry run; 0 makes it a command like any other.
    """

    def __init__(
        self, operators: Iterable[Operator], run_id: str, wall_ms: Callable[[], int], required: int = 0
    ) -> None:
        self._operators = {it.name: it for it in operators}
        self._run_id = run_id
        self._wall_ms = wall_ms
        self._required = required
        self._used: dict[bytes, int] = {}
        self._cooldown = Cooldown()

    @property
    def controllers(self) -> tuple[str, ...]:
        """The operators that may touch the run, by name."""
        return tuple(sorted(it.name for it in self._operators.values() if it.role == "control"))

    @property
    def required(self) -> int:
        """How many operators a dangerous command needs; 0 when it is like any other."""
        return self._required

    def needs_dry_run(self, command: Command) -> bool:
        """Whether several operators have to have seen what a command affects."""
        return bool(self._required) and is_dangerous(command.request)

    def verify(self, command: Command) -> str:
        """Check all signatures of a command that touches the run, and use up its number.

        Returns:
            The operators, in the order of their names.

        Raises:
            RefusedError: One of them, or the command itself, is not good.
        """
        signed, now_ms = command.signed, self._wall_ms()
        if signed is None:
            _refuse(
                "not-signed",
                f"this run wants signed commands: {command.name} is refused",
                "name your key: KTSTR_OPERATOR=FILE; ktstr-tui operator new makes one",
            )
        needed = self._required if self.needs_dry_run(command) else 1
        if self.needs_dry_run(command) and not any(signed.affected):
            text = f"{command.name} needs a dry run and {counted(needed, 'operator')}"
            _refuse("dry-run-required", text, "ktstr-tui operator propose FILE, then sign, then submit")
        self._check_time(command, signed, now_ms)
        names = self._check_signatures(command, signed)
        if len(names) < max(1, needed):
            _refuse(
                "too-few-operators",
                f"{command.name} needs {counted(needed, 'operator')}, and {counted(len(names), 'operator')} signed it",
                "another one signs it with: ktstr-tui operator sign FILE",
            )
        self._used[signed.nonce] = signed.issued_ms + MAX_AGE_MS
        return ", ".join(names)

    def carried_out(self, command: Command) -> None:
        """Note that a dangerous command was let through, so that the same thing is not done again at once."""
        if self.needs_dry_run(command):
            self._cooldown.begin(targets_of(command.request), self._wall_ms())

    def _check_time(self, command: Command, signed: Signed, now_ms: int) -> None:
        if signed.run_id != self._run_id:
            _refuse("other-run", f"{command.name} was signed for another run", "sign it again for this one")
        age_ms = now_ms - signed.issued_ms
        if age_ms > MAX_AGE_MS:
            text = (
                f"{command.name} was signed {age_ms / 1000:.0f} s ago, and counts for {MAX_AGE_MS // 1000} s"
            )
            _refuse("expired", text, "sign it again; compare the clocks of both hosts")
        if -age_ms > MAX_AHEAD_MS:
            text = f"{command.name} was signed {-age_ms / 1000:.0f} s in the future"
            _refuse("from-the-future", text, "compare the clocks of both hosts")
        self._used = {nonce: until_ms for nonce, until_ms in self._used.items() if until_ms >= now_ms}
        if signed.nonce in self._used:
            _refuse("replayed", f"this very {command.name} was accepted before", "sign it again")
        if len(self._used) >= MAX_NUMBERS:
            _refuse(
                "too-soon",
                f"{MAX_NUMBERS} signed commands came within {MAX_AGE_MS // 1000} s",
                "wait a minute",
            )
        if self.needs_dry_run(command):
            wait_ms = self._cooldown.wait_ms(targets_of(command.request), now_ms)
            if wait_ms:
                text = f"{command.name} would affect what a command affected a moment ago"
                _refuse("too-soon", text, f"try again after {wait_ms / 1000:.1f} s")

    def _check_signatures(self, command: Command, signed: Signed) -> list[str]:
        """The operators that may do this and whose signature is good; the first that is not ends it."""
        data, names = payload(signed, command.request), set()
        for it in signed.signatures:
            operator = self._operators.get(it.operator)
            if operator is None:
                known = ", ".join(self._operators) or "none"
                _refuse("unknown-operator", f"this run knows no operator {it.operator}", f"it knows {known}")
            try:
                Ed25519PublicKey.from_public_bytes(operator.key).verify(it.signature, data)
            except InvalidSignature:
                text = f"the signature of {it.operator} under {command.name} does not fit"
                _refuse("bad-signature", text, "is it the key that the run's list of operators has?")
            if operator.role != "control":
                text = f"{it.operator} may look at this run and not touch it: {command.name} is refused"
                _refuse("only-observes", text, "ask whoever keeps the run's list of operators")
            names.add(it.operator)
        return sorted(names)


def _refuse(kind: Refusal, message: str, hint: str) -> NoReturn:
    raise RefusedError(message, hint, kind)
