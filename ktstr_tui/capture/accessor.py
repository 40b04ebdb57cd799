"""How far the worker that types the guest's memory has come, and waiting for it to come further.

The worker publishes once when memory is first readable by type, and again whenever a scheduler swap made it
look again; each publish bumps a sequence number. Who swaps a scheduler remembers the number from before
and waits until it passed. The numbers are the truth and the event only wakes: every waiter looks again
after it woke, so a wake-up too many does no harm. An error distinguishes "still trying, wait longer" from "gave up,
do not retry".

Publishing happens on the trio thread; a worker thread goes through ``trio.from_thread.run_sync``.
"""

from __future__ import annotations

from enum import IntEnum

import trio

from ktstr_tui.model.errors import GuestError, InternalError


class WorkerState(IntEnum):
    """State of the worker that opens the guest's memory."""

    TRYING = 0
    SUCCEEDED = 1
    FAILED_PERMANENTLY = 2


class AccessorFailedError(GuestError):
    """The worker gave up for good; waiting again ends the same way."""


class AccessorTimeoutError(GuestError):
    """The worker is still at it, the waiter's deadline passed first."""


class AccessorState:
    """The worker's state and its publish sequence number, with waits for both."""

    def __init__(self) -> None:
        self._state = WorkerState.TRYING
        self._seqno = 0
        self._reason = ""
        self._changed = trio.Event()

    @property
    def state(self) -> WorkerState:
        """What the worker is doing."""
        return self._state

    @property
    def publish_seqno(self) -> int:
        """How often the worker has published; 0 before the first time."""
        return self._seqno

    def publish(self) -> int:
        """Note that memory is readable by type (again); returns the new sequence number."""
        if self._state is WorkerState.FAILED_PERMANENTLY:
            raise InternalError("the accessor worker published after it had given up")
        self._state = WorkerState.SUCCEEDED
        self._seqno += 1
        self._wake()
        return self._seqno

    def fail(self, reason: str) -> None:
        """The worker gives up for good, for ``reason``."""
        self._state = WorkerState.FAILED_PERMANENTLY
        self._reason = reason
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_not_trying(self, deadline: float, op_label: str) -> None:
        """Wait until the worker published for the first time.

        Args:
            deadline: On trio's clock, in seconds.
            op_label: Who waits, for the error.

        Raises:
            AccessorFailedError: The worker gave up.
            AccessorTimeoutError: It was still trying at the deadline.
        """
        while self._state is WorkerState.TRYING:
            if not await self._wait_changed(deadline):
                raise AccessorTimeoutError(
                    f"{op_label}: the accessor worker stayed in TRYING past the deadline, nothing published",
                    "the kernel's boot may have stalled before its symbols could be read: see the console",
                )
        self._check_alive(op_label)

    async def wait_publish_advance(self, seqno_before: int, deadline: float, op_label: str) -> int:
        """Wait until the sequence number passed ``seqno_before``; returns the new number.

        Raises:
            AccessorFailedError: The worker gave up.
            AccessorTimeoutError: The number had not moved at the deadline.
        """
        while self._seqno <= seqno_before:
            self._check_alive(op_label)
            if not await self._wait_changed(deadline):
                raise AccessorTimeoutError(
                    f"{op_label}: the publish sequence did not advance from {seqno_before} within the "
                    f"deadline (worker state = {int(self._state)}; "
                    "0=Trying / 1=Succeeded / 2=FailedPermanently)",
                    "the worker is still trying: allow more time",
                )
        return self._seqno

    def _check_alive(self, op_label: str) -> None:
        if self._state is WorkerState.FAILED_PERMANENTLY:
            because = f": {self._reason}" if self._reason else ""
            raise AccessorFailedError(
                f"{op_label}: the accessor worker exited (FAILED_PERMANENTLY){because}",
                "trying again fails the same way: fix the cause and start a new run",
            )

    async def _wait_changed(self, deadline: float) -> bool:
        if trio.current_time() >= deadline:
            return False
        changed = self._changed
        with trio.move_on_at(deadline):
            await changed.wait()
        return True
