"""Tags of captures: each capture of a run has its own, whatever was asked for.

State, screen and files of a run find a capture by its tag. A second capture of the same tag would take the place of the
first; so it is called ``TAG-2``.
"""

from __future__ import annotations

MAX_REMEMBERED = 4096
"""Tags; a run keeps far fewer captures, so that one of a forgotten tag is forgotten too."""


class UsedTags:
    """The tags that were given out in a run, newest last; shared by the coordinators of its boots."""

    def __init__(self) -> None:
        self.captures = 0
        """Captures that were given a name."""
        self._next: dict[str, int] = {}

    def unique(self, wanted: str) -> str:
        """Return the tag itself or, when it is taken, the tag with the next free number: ``x``, ``x-2``, ``x-3``."""
        tag, number = wanted, self._next.pop(wanted, 1)
        if number > 1:
            tag = f"{wanted}-{number}"
            while tag in self._next:
                number += 1
                tag = f"{wanted}-{number}"
            self._next[tag] = 2
        self._next[wanted] = number + 1
        while len(self._next) > MAX_REMEMBERED:
            del self._next[next(iter(self._next))]
        return tag
