"""What an action is: its id, its keys, and where and when it can be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Place: TypeAlias = Literal["app", "main", "report", "timeline", "pane"]
"""Where a key is heard: anywhere, on the main screen, on a report, on the timeline, in a focused pane."""
When: TypeAlias = Literal["always", "offered"]
"""When a key is in the footer: always, or while the focused pane offers it for the row under the cursor."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the user can do."""

    id: str
    keys: str
    """Comma-separated keys in Textual's names."""
    run: str
    """The Textual action, with its arguments."""
    label: str
    """Two words at most, for the footer."""
    about: str
    """A sentence, for help, palette and tooltip."""
    place: Place
    footer: int = 0
    """Rank in the footer, where the highest go first when there is no room; 0 is never there."""
    when: When = "always"
    asks: bool = False
    """The run is asked to do it, and refuses it to a viewer without control."""

    @property
    def group(self) -> str:
        """The part of the id before the dot; heads a section of the help page."""
        return self.id.partition(".")[0]
