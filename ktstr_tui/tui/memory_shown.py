"""Whose memory belongs to what the screen shows, for drgn's prompt; or why there is none.

In the report of a capture with memory it is that of its instant, its snapshot; elsewhere the memory of the run as it is
now, frozen or live. A recording has none, and neither has a run of another machine.
"""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.link.runs import RUN_FILE
from ktstr_tui.model.state import CaptureState, RunState
from ktstr_tui.tui.view import View

SNAPSHOTS, SUFFIX = "snapshots", ".snap"
"""Where a run keeps its snapshots, in its directory."""
_OFFER = {"run.prompt": "drgn"}


def memory_of_run(sockets: Path) -> Path | None:
    """What drgn is given for a run; None for one of another machine.

    Args:
        sockets: The directory of its sockets, or one of them.
    """
    directory = sockets if sockets.is_dir() else sockets.parent
    return directory if (directory / RUN_FILE).exists() else None


def prompt_offers(view: View, capture: CaptureState | None = None) -> dict[str, str]:
    """Ids and labels for the footer: the key for the prompt, where there is memory to ask."""
    found = memory_shown(view, capture)
    return _OFFER if isinstance(found, Path) else {}


def memory_shown(view: View, capture: CaptureState | None) -> Path | str:
    """What drgn is given for what is shown, or why there is nothing, as a sentence.

    Args:
        view: The run.
        capture: The one whose report is open.
    """
    stored = None if capture is None else _snapshot_of(capture, view.source.state)
    if stored is not None:
        return stored
    memory = view.memory
    if view.film is not None:
        return "An earlier time of the run is shown, whose memory is gone. Return to now first."
    if view.reel is not None:
        return memory or "A recording has no memory. A capture taken with memory (M) has: open its report."
    if view.connection == "connecting":
        return "Not connected yet: there is no memory to ask. Try again in a moment."
    if view.over:
        return "The guest is gone, and its memory with it. A capture taken with memory (M) has some: open its report."
    return memory or "The run is on another machine: ktstr-tui drgn there asks its memory."


def _snapshot_of(capture: CaptureState, state: RunState) -> Path | None:
    """The file of a capture's snapshot; None when it has none, or it is not on this machine."""
    if not capture.snapshot or state.info is None or not state.info.data_dir:
        return None
    path = Path(state.info.data_dir) / SNAPSHOTS / f"{capture.snapshot}{SUFFIX}"
    return path if path.is_file() else None
