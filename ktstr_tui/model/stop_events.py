"""Events of a guest that is stopped for longer than a moment: by a person, or for a debugger."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.report import Pause

DebuggerStep: TypeAlias = Literal["waiting", "attached", "went_back", "came_back", "wrote", "refused", "left"]


class Frozen(RunEvent, frozen=True, tag="frozen"):
    """The guest was frozen, until it is thawed (the short pause of a capture is no freeze)."""

    reason: str
    viewer: str = ""
    """Topic of the viewer without whom it is thawed; empty for none."""
    debugger: bool = False
    """A debugger holds it, which no command thaws: it runs when that continues or is gone."""


class Thawed(RunEvent, frozen=True, tag="thawed"):
    """The guest thawed after a freeze."""

    reason: str
    pause: Pause


class DebuggerChanged(RunEvent, frozen=True, kw_only=True, tag="debugger"):
    """A debugger may connect, is attached, looks at an earlier instant or no more, wrote or was refused to, is gone."""

    step: DebuggerStep
    who: str
    """For whom it is."""
    where: str = ""
    """The socket that it may connect to: a path, or ``127.0.0.1:PORT``."""
    what: str = ""
    """What was written; how far back it is; why it is gone."""
    forwarded: int = 0
    """Stops that were told to debuggers so far, but for those that they asked for."""
    restored: int = 0
    """Watchpoints of the run that were found removed so far, and set again."""
