"""What a viewer may do to a run: by its own choice, by what the run allows, and by the key it has."""

from __future__ import annotations

from ktstr_tui.link.catch_up import Snapshot
from ktstr_tui.link.operator import Signer, sign
from ktstr_tui.link.requests import Requests
from ktstr_tui.model.commands import READING_REQUESTS, Ping, Request
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.signing import Signed

RUN_ID_TIMEOUT_S = 5.0


class Access:
    """The access of one viewer.

    Args:
        read_only: Whether it refuses to touch the run.
        signer: Signs what touches the run; None for nobody.
    """

    def __init__(self, *, read_only: bool = False, signer: Signer | None = None) -> None:
        self._read_only = read_only
        self._signer = signer
        self._may_control = True
        self._controllers: tuple[str, ...] | None = None

    def learn(self, snapshot: Snapshot) -> None:
        """Take what the run says of itself."""
        self._may_control, self._controllers = snapshot.may_control, snapshot.controllers

    @property
    def why_not(self) -> str:
        """Why the run may not be touched; empty when it may."""
        if self._read_only:
            return "attached read-only"
        if not self._may_control:
            return "this run lets viewers only look (run --viewers observe)"
        if self._controllers is None:
            return ""
        if self._signer is None:
            return "this run wants signed commands, and no key is named (KTSTR_OPERATOR)"
        known = self._signer.operator in self._controllers
        return "" if known else f"operator {self._signer.operator} may only look at this run"

    async def vouch(self, request: Request, run_id: str | None, requests: Requests) -> Signed | None:
        """Sign a request with this viewer's key; None for one that needs no signature, or without a key.

        Raises:
            UsageError: This viewer only looks.
        """
        if isinstance(request, READING_REQUESTS):
            return None
        if self._read_only:
            raise UsageError(f"{request.name} is refused: attached read-only", "attach without --read-only")
        if self._signer is None:
            return None
        # A signature is for one start of one run.
        run_id = run_id or (await requests.ask(Ping(), RUN_ID_TIMEOUT_S))[0].run_id
        return sign(request, run_id, self._signer)
