"""Which bridge is "the" bridge: a matter of the task tree, not of the process.

`set_task_local` installs one in a context variable, which trio hands down to every task started below. So two runs in
one process each serve their own guest, and whoever serves a request of a scenario need not be handed the bridge.
Closing the guard restores the one before, so that a scenario inside another cannot leak its bridge outwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self, TypeVar

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.model.errors import InternalError

_R = TypeVar("_R")
_ACTIVE: ContextVar[SnapshotBridge | None] = ContextVar("snapshot_bridge", default=None)


class BridgeGuard:
    """Restores the bridge that was active before. Use it as a context manager, or close it."""

    def __init__(self, token: Token[SnapshotBridge | None]) -> None:
        self._token: Token[SnapshotBridge | None] | None = token

    def close(self) -> None:
        """Restore; a second time does nothing."""
        token, self._token = self._token, None
        if token is not None:
            _ACTIVE.reset(token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def active_bridge() -> SnapshotBridge | None:
    """The bridge of the current task, if one is installed."""
    return _ACTIVE.get()


def require_bridge() -> SnapshotBridge:
    """The bridge of the current task.

    Raises:
        InternalError: None is installed.
    """
    bridge = _ACTIVE.get()
    if bridge is None:
        raise InternalError("no snapshot bridge is installed for this task", "please report it")
    return bridge


def with_active_bridge(call: Callable[[SnapshotBridge], _R]) -> _R | None:
    """Run ``call`` with the active bridge; None, without running it, when there is none."""
    bridge = _ACTIVE.get()
    return None if bridge is None else call(bridge)


def set_task_local(bridge: SnapshotBridge) -> BridgeGuard:
    """Make this the bridge of the current task and all started below; closing the guard restores."""
    return BridgeGuard(_ACTIVE.set(bridge))
