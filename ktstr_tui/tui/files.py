"""Files that the screen writes: copied text and exported reports, under the user's XDG state directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from ktstr_tui.model.state import CaptureState

_MAX_NAME = 256


def state_dir() -> Path:
    """``$XDG_STATE_HOME/ktstr-tui``, created if missing."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "ktstr-tui"
    path.mkdir(parents=True, exist_ok=True)
    return path


def screenshots_dir() -> Path:
    """Where pictures of the screen are saved, created if missing."""
    path = state_dir() / "screenshots"
    path.mkdir(exist_ok=True)
    return path


def keep_theme(name: str) -> None:
    """Keep the name of the theme for the next start."""
    (state_dir() / "theme").write_text(name + "\n", encoding="utf-8")


def kept_theme() -> str:
    """The name of the theme that was chosen last; empty when none was, or when it cannot be read."""
    try:
        with (state_dir() / "theme").open(encoding="utf-8") as file:
            return file.readline(_MAX_NAME).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write_copied(text: str) -> Path:
    """Keep copied text in a file, because many terminals refuse programs their clipboard."""
    path = state_dir() / "copied.txt"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def export_capture(capture: CaptureState, run: str) -> Path:
    """The JSON file of a capture on this machine: the backend's own when it is here, else a new one."""
    if capture.path and Path(capture.path).is_file():
        return Path(capture.path)
    directory = state_dir() / "exports"
    directory.mkdir(exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{run or 'run'}-{capture.report.tag}")
    path = directory / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(capture.report), indent=2))
    return path
