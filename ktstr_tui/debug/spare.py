"""A run that is had again before anybody asked for it, held a little before where the debugger is.

Whoever steps back once steps back again, and the way from the beginning takes seconds, during which nobody else needs
the host's CPUs. So while the debugger is looked at, another run goes there already.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from ktstr_tui.debug.again import TELL_EACH_S, AgainGuest, OpenAgain, TellShare
from ktstr_tui.model.errors import GuestError, KtstrError

MARGIN = 1 << 20
"""Instructions of all vCPUs before the debugger's place: some milliseconds of the guest's time."""


class Spare:
    """One such run; `run` must run in some nursery.

    Args:
        open_again: Has the run again.
        vcpus: How many vCPUs it has.
        total: Where to hold it, in instructions of all vCPUs.
    """

    def __init__(self, open_again: OpenAgain, vcpus: int, total: int) -> None:
        self.total = total
        self._open_again, self._vcpus = open_again, vcpus
        self._stack = AsyncExitStack()
        self._guest: AgainGuest | None = None
        self._share = 0.0
        self._error: KtstrError | None = None
        self._there = trio.Event()
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Bring it there and keep it; it ends when it is not needed any more, or when this is cancelled."""
        try:
            with self._scope:
                try:
                    stack = self._stack
                    self._guest = AgainGuest(await stack.enter_async_context(self._open_again()), self._vcpus)
                    await self._guest.go_on_to(self.total, self._keep_share)
                except KtstrError as error:
                    self._error = error
                self._there.set()
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self._stack.aclose()

    def end(self) -> None:
        """It is not needed any more."""
        self._scope.cancel()

    async def take(self, tell: TellShare) -> tuple[AgainGuest, AsyncExitStack]:
        """Wait until it is there; returns it, and what ends it.

        Args:
            tell: Told now and then which share of the way is done, from 0 to 1.

        Raises:
            KtstrError: It could not be had.
        """
        while not self._there.is_set():
            with trio.move_on_after(TELL_EACH_S) as scope:
                await self._there.wait()
            if scope.cancelled_caught:
                await tell(self._share)
        if self._error is not None or self._guest is None:
            raise self._error or GuestError("the rerun is gone")
        taken, self._stack = self._stack, AsyncExitStack()
        self._scope.cancel()
        return self._guest, taken

    async def _keep_share(self, share: float) -> None:
        self._share = share
