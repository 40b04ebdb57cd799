"""Which snapshot a word means, where it may mean a run as well."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.guest.paths import runtime_dir
from ktstr_tui.link.runs import list_runs
from ktstr_tui.memory.find import Found, all_snapshots, find_snapshot
from ktstr_tui.memory.remote import socket_of
from ktstr_tui.memory.snapshot import SUFFIX
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean


def find_stored(name: str) -> Found | None:
    """Return the snapshot of that name; None when a run is meant.

    Raises:
        UsageError: The name may be several snapshots, or is that of neither a snapshot nor a run.
    """
    if runtime_dir().joinpath(name).is_dir():
        return None
    stored = all_snapshots()
    known = any(name in (it.name, f"{it.run}/{it.name}", f"{it.run_name}/{it.name}") for it in stored)
    # A path that is there names sockets of a run, unless it ends as a snapshot does.
    far = "/" in name and not Path(name).exists() and socket_of(Path(name).parent) is not None
    if known or far or name.endswith(SUFFIX):
        return find_snapshot(name)
    if name and "/" not in name and not Path(name).exists():
        running = [it.name for it in list_runs(runtime_dir()) if it.alive]
        guess = did_you_mean(name, [*running, *(it.name for it in stored)])
        raise UsageError(
            f"neither a run in progress nor a snapshot is called {name}{guess}",
            f"in progress: {', '.join(running) or 'none'}; ktstr-tui snapshot list names the snapshots",
        )
    return None
