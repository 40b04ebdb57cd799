"""Which snapshot a word means, where it may mean a run as well."""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.guest.paths import runtime_dir
from ktstr_tui.memory.find import Found, all_snapshots, find_snapshot
from ktstr_tui.memory.remote import socket_of
from ktstr_tui.memory.snapshot import SUFFIX


def find_stored(name: str) -> Found | None:
    """Return the snapshot of that name; None when there is none, or a run in progress has the name.

    Raises:
        UsageError: The name may be several snapshots.
    """
    if runtime_dir().joinpath(name).is_dir():
        return None
    known = any(name in (it.name, f"{it.run}/{it.name}") for it in all_snapshots())
    # A path that is there names sockets of a run, unless it ends as a snapshot does.
    far = "/" in name and not Path(name).exists() and socket_of(Path(name).parent) is not None
    return find_snapshot(name) if known or far or name.endswith(SUFFIX) else None
