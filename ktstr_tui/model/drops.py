"""What was lost, from whoever counts it to the stream: one protocol, and names that stay the same.

A class that gives something up counts it by reason and answers `drops()`. Its owner adds the counters of the parts
that it keeps to itself. Whoever holds the list of all owners gives each a room, and the name on the stream is
``room.reason``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Drops(Protocol):
    """Something that counts what it lost."""

    def drops(self) -> Mapping[str, int]:
        """Return everything lost so far, by reason; a reason that never happened may be there with 0."""
        ...


def drop_table(sources: Mapping[str, Drops]) -> dict[str, int]:
    """Ask all of ``sources``, by room, and return what was really lost, by ``room.reason``."""
    return {
        f"{room}.{reason}": count
        for room, source in sources.items()
        for reason, count in source.drops().items()
        if count
    }
