"""How a person wants the screen: theme and keys, from the command line and the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the screen starts with; without it the theme that was chosen last, and the keys of the registry."""

    theme: str = ""
    """Name of the theme; empty for the one that was chosen last."""
    decided_by: str = ""
    """What decides about the theme at every start, whatever is chosen meanwhile; empty when nothing does."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Comma-separated keys by the id of an action."""
    notices: tuple[str, ...] = ()
    """What was wrong with the configuration; said at the start."""
