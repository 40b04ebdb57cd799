"""The way back: what a command came to, for whoever asked for it."""

from __future__ import annotations

from typing import Any

import trio

from ktstr_tui.model.errors import HostError

MAX_WAITING = 1024


class Results:
    """Hands each result to the one who waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[trio.Event, list[tuple[Any, Exception | None]]]] = {}
        self._closed: Exception | None = None

    async def result(self, command_seq: int) -> Any:  # noqa: ANN401
        """Wait for what a command came to; ask right after it was accepted, without a checkpoint in between.

        Args:
            command_seq: Number of the command.

        Raises:
            KtstrError: It failed, or was given up.
        """
        if self._closed is not None:
            raise self._closed
        if len(self._waiting) >= MAX_WAITING:
            raise HostError(f"{MAX_WAITING} commands wait for their result already", "try again in a moment")
        arrived, box = self._waiting.setdefault(command_seq, (trio.Event(), []))
        try:
            await arrived.wait()
        finally:
            self._waiting.pop(command_seq, None)
        value, error = box[0]
        if error is not None:
            raise error
        return value

    def give(self, command_seq: int | None, value: object = None, error: Exception | None = None) -> None:
        """Hand over what a command came to; nobody may wait for it any more."""
        if command_seq is not None and command_seq in self._waiting:
            arrived, box = self._waiting[command_seq]
            box.append((value, error))
            arrived.set()

    def close(self, error: Exception) -> None:
        """Tell everybody who waits, and everybody who will ask, that nothing comes any more."""
        self._closed = error
        for arrived, box in self._waiting.values():
            if not box:
                box.append((None, error))
            arrived.set()
