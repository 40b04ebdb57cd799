"""Makes room for a run: removes the oldest of the earlier ones when they take more disk than they may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.guest.paths import state_dir
from ktstr_tui.link.stored_runs import StoredRuns
from ktstr_tui.model.events import Logged
from ktstr_tui.model.stored import Pruned
from ktstr_tui.text.stored_lines import pruned_line


async def make_room(config: RunConfig) -> Pruned | None:
    """Remove what is too much, in a thread; None when the run has no limit.

    The run itself is open already, so it is counted and never removed.
    """
    if not config.runs_limit_mib:
        return None
    runs = StoredRuns(state_dir() / "runs")
    spared = Path(config.again) if config.again is not None else None
    return await trio.to_thread.run_sync(
        lambda: runs.prune(config.runs_limit_mib << 20, spared=spared), abandon_on_cancel=False
    )


def told(pruned: Pruned | None, note: Callable[[str], None]) -> Logged | None:
    """Say what was removed, and return the line of the log; None when nothing was removed and nothing failed."""
    if pruned is None or not (pruned.removed or pruned.failed):
        return None
    text = pruned_line(pruned)
    note(text)
    return Logged(severity="warning" if pruned.failed else "info", source="runs", text=text)
