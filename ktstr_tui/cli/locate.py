"""``locate``: where everything is."""

from __future__ import annotations

from ktstr_tui.guest import paths
from ktstr_tui.text.output import print_json, print_line


def locate_command(as_json: bool) -> None:
    """Print the program's directories."""
    places = {
        "runtime": str(paths.runtime_dir()),
        "state": str(paths.state_dir()),
        "cache": str(paths.cache_dir()),
    }
    if as_json:
        print_json(places)
        return
    for name, path in places.items():
        print_line(f"{name:8} {path}")
