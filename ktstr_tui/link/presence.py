"""Is anybody there? The four facts that decide how a backend is seen, and the verdict."""

from __future__ import annotations

from collections.abc import Callable

from ktstr_tui.link.source import Connection


class Presence:
    """How a backend is seen.

    Args:
        silence_ns: A backend that says nothing for longer is gone.
        clock: Our monotonic clock in ns.
    """

    def __init__(self, silence_ns: int, clock: Callable[[], int]) -> None:
        self._silence_ns = silence_ns
        self._clock = clock
        self._heard_ns = clock()
        self._was_live = False
        self.synced = False
        """Whether our state is one of the backend's."""
        self.connected = False
        """Whether ZeroMQ has a connection with a handshake done."""
        self.refusal = ""
        """Why nothing that the backend says can be used; empty when it can."""
        self.finished = False
        """Whether the run has ended."""
        self.connection: Connection = "connecting"
        """The verdict of the last `judge`."""
        self.reason = ""
        """Why, in words; empty when there is nothing to say."""

    def heard(self) -> None:
        """Note that the backend said something."""
        self._heard_ns = self._clock()

    def judge(self) -> bool:
        """Work out `connection` and `reason`; whether the connection has changed."""
        before = self.connection
        self.connection, self.reason = self._verdict()
        self._was_live = self._was_live or self.connection == "live"
        return self.connection != before

    def _verdict(self) -> tuple[Connection, str]:
        quiet_ns = self._clock() - self._heard_ns
        silent = quiet_ns > self._silence_ns
        if self.finished:
            return "ended", ""
        if self.refusal:
            return "connecting", self.refusal
        if not self._was_live and not (self.synced and self.connected and not silent):
            return "connecting", ""
        if not self.connected:
            return "gone", "the backend closed the connection"
        if silent:
            return "gone", f"no message from the backend for {quiet_ns / 1e9:.0f} s"
        return ("live", "") if self.synced else ("connecting", "the state is being fetched again")
