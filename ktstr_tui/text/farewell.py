"""What remains on the terminal when the screen was closed: the outcome, and the command that shows the run again."""

from __future__ import annotations

import shlex

from ktstr_tui.text.plain import clean


def farewell(name: str, reason: str, exit_code: int, recording: str) -> str:
    """Say in one line how a run ended and how to replay it."""
    replay = f"replay it with: ktstr-tui replay {shlex.quote(recording)}"
    return clean(f"run {name}: {reason} (exit code {exit_code}); {replay}")
