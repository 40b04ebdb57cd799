"""Files that users name: every kind of thing at a path ends in bytes or in a refusal."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.cli.capture_diff import capture_diff_command
from ktstr_tui.guest.image import open_image
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.scenario import load_scenario
from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.model.errors import UsageError
from ktstr_tui.tui.themes import load_theme
from ktstr_tui.wire.user_file import read_user_file, read_user_text

READERS: dict[str, Callable[[Path], object]] = {
    "kernel": open_image,
    "scheduler": lambda path: resolve_scheduler(str(path)),
    "scenario": load_scenario,
    "recording": RecordingReader,
    "theme": load_theme,
    "capture": lambda path: capture_diff_command(str(path), None, None, False),
}


@pytest.fixture(params=["FIFO", "device", "directory", "socket", "missing", "NUL"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A path that leads to no regular file, and the words that say so."""
    path = tmp_path / "odd.toml"
    if request.param == "FIFO":
        os.mkfifo(path)
        return path, "it is a FIFO"
    if request.param == "device":
        return Path("/dev/zero"), "it is a device"
    if request.param == "directory":
        path.mkdir()
        return path, "it is a directory|no arch/x86/boot/bzImage"
    if request.param == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
        return path, "it is a socket|No such device or address"
    if request.param == "NUL":
        return Path("/tmp/a\0b"), "null|No such file"
    return path, "No such file"


@pytest.mark.parametrize("what", READERS)
def test_what_is_no_regular_file_is_refused_without_waiting(what: str, odd: tuple[Path, str]) -> None:
    path, words = odd
    with pytest.raises(UsageError, match=words):
        READERS[what](path)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="more than 1,000"):
        read_user_file(path, "kernel", max_bytes=1000)
    with pytest.raises(UsageError, match="more than"):
        load_scenario(path)
    with pytest.raises(UsageError, match="more than"):
        open_image(path)


def test_a_file_that_grows_while_it_is_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="more than 10 bytes"):
        read_user_file(Path("/proc/self/status"), "kernel", max_bytes=10)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_user_text(path, "scenario", max_bytes=100)
    path.write_bytes("café".encode())
    assert read_user_text(path, "scenario", max_bytes=100) == "café"
