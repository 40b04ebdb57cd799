"""Lets commands in or not, and writes down every attempt: who asked, how that is known, and what was said.

What only reads is let in without an entry.
"""

from __future__ import annotations

import time
from typing import cast

import msgspec

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.effects import Effects
from ktstr_tui.control.audit import Audit
from ktstr_tui.control.authority import Authority, Identity, identify
from ktstr_tui.control.signatures import Verifier
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import READING_REQUESTS, Command, DangerousRequest
from ktstr_tui.model.errors import HostError, KtstrError, RefusedError
from ktstr_tui.model.signing import Affected, Proof


def authority_of(config: RunConfig, run_id: str) -> Authority:
    """Who may do what to a run, as it was started."""
    verifier = None
    if config.operators:
        verifier = Verifier(
            config.operators, run_id, lambda: time.time_ns() // 1_000_000, config.require_operators
        )
    return Authority(control=config.viewers == "control", verifier=verifier)


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was let in."""

    command: Command
    """With the name of whoever asks as far as it is known."""
    proof: Proof
    affected: str = ""
    """Hash of what it would affect; empty where that was not signed."""


class Gatekeeper:
    """Stands before the desk.

    Args:
        authority: Says who may do what.
        audit: Keeps every attempt.
        effects: Tells what a dangerous command would affect.
        stream: Takes the word of every attempt, and knows the hold.
    """

    def __init__(self, authority: Authority, audit: Audit, effects: Effects, stream: Stream) -> None:
        self._authority = authority
        self._audit = audit
        self._effects = effects
        self._stream = stream

    async def admit(self, command: Command) -> Admitted:
        """Let a command in.

        Raises:
            KtstrError: It was refused, and that is written down.
        """
        who = identify(command)
        try:
            who = self._authority.check(command, self.hold())
            affected = ""
            if self._authority.needs_dry_run(command):
                affected = self._authority.check_effect(command, await self.affected(command.request))
        except KtstrError as error:
            self._write_down(command, _claimed(command, who), "rejected", error)
            raise
        named = msgspec.structs.replace(command, viewer=who.operator)
        return Admitted(command=named, proof=who.proof, affected=affected)

    async def affected(self, request: object) -> Affected:
        """What a dangerous request would affect now.

        Raises:
            KtstrError: It would be refused.
        """
        return await self._effects.of_request(cast("DangerousRequest", request))

    def accept(self, admitted: Admitted, wanted: ct.Action | None = None) -> ev.CommandDecided:
        """Write down that a command is carried out.

        Args:
            admitted: The command.
            wanted: What the loop is to do; None when it is done already.

        Raises:
            HostError: It could not be put on the stream.
        """
        command = admitted.command
        who = Identity(operator=command.who, proof=admitted.proof)
        return self._write_down(command, who, "accepted", wanted=wanted, affected=admitted.affected)

    def refuse(self, command: Command, error: RefusedError) -> None:
        """Write down that a command was refused before anybody looked at it, unless it only reads."""
        if not isinstance(command.request, READING_REQUESTS):
            self._write_down(command, _claimed(command, identify(command)), "rejected", error)

    def reject(self, admitted: Admitted, error: KtstrError) -> None:
        """Write down that a command cannot be carried out after all."""
        command = admitted.command
        self._write_down(command, Identity(operator=command.who, proof=admitted.proof), "rejected", error)

    def hold(self) -> ct.HoldState | None:
        """The hold on automation that is in effect now."""
        hold = self._stream.state.control.hold
        return hold if hold is not None and hold.until_ns > self._stream.now_ns() else None

    def _write_down(
        self,
        command: Command,
        who: Identity,
        outcome: ct.Outcome,
        error: KtstrError | None = None,
        *,
        wanted: ct.Action | None = None,
        affected: str = "",
    ) -> ev.CommandDecided:
        reason = "" if error is None else error.message
        refusal = None if error is None else error.kind if isinstance(error, RefusedError) else "invalid"
        entry = self._audit.record(
            who.operator, command.name, outcome, reason, proof=who.proof, refusal=refusal
        )
        event = ev.CommandDecided(
            command_seq=entry.seq,
            operator=who.operator,
            request=command.name,
            outcome=outcome,
            proof=who.proof,
            refusal=refusal,
            reason=reason,
            chain_pending=self._audit.is_pending(entry.seq),
            wanted=wanted,
            affected=affected,
        )
        stamped = self._stream.emit(event)
        if not isinstance(stamped, ev.CommandDecided):
            raise HostError(f"{command.name} could not be put on the stream", "ask for less at once")
        return stamped


def _claimed(command: Command, who: Identity) -> Identity:
    """Who a refused command says signed it, beside the one who sent it."""
    if command.signed is None or not command.signed.signatures or who.proof == "signed":
        return who
    names = ", ".join(it.operator for it in command.signed.signatures)
    return Identity(operator=f"{names} by {who.operator}", proof=who.proof)
