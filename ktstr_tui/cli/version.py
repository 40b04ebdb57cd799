"""What ``--version`` prints: the version, and where the parts are that a compiler made.

Only names are looked up: loading the native module would cost more than all the rest.
"""

from __future__ import annotations

from importlib.util import find_spec

from ktstr_tui import __version__
from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.model.errors import HostError


def version_lines() -> list[str]:
    """The version first, as programs expect it; then one line for each compiled part."""
    return [f"ktstr-tui {__version__}", f"native module: {_native()}", f"guest program: {_guest()}"]


def _native() -> str:
    found = find_spec("ktstr_tui._native")
    return str(found.origin) if found is not None else "not built"


def _guest() -> str:
    try:
        artifacts = guest_artifacts()
    except HostError as error:
        return f"not built ({error.message})"
    return f"{artifacts.agent}; demos: {', '.join(artifacts.demos)}"
