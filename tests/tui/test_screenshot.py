"""The script that draws the README's picture from a recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.wire.codec import encode_event
from tests.tui.story import Story


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """The story as a file."""
    path = tmp_path / "tour.ktstr"
    records = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in Story().until(33)]
    path.write_bytes(header("5f1c9a") + pack_chunk(records[:200]) + pack_chunk(records[200:]))
    return path


def shoot(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(checkout / "scripts" / "parts" / "screenshot.py"), *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, env=env)


def text_of(svg: Path) -> str:
    """The words in a picture."""
    return svg.read_text(encoding="utf-8").replace("&#160;", " ")


def test_the_moment_after_the_capture_is_drawn(checkout: Path, recording: Path, tmp_path: Path) -> None:
    picture = tmp_path / "images" / "screen.svg"
    done = shoot(checkout, str(recording), str(picture))
    assert (done.returncode, done.stderr) == (0, "")
    text = text_of(picture)
    assert "ERROR_STALL" in text
    assert "► replay" in text
    assert "up" in text
    assert "00:30" in text
    assert "@font-face" not in text
    assert "url(http" not in text


def test_a_moment_a_size_and_keys_can_be_chosen(checkout: Path, recording: Path, tmp_path: Path) -> None:
    picture = tmp_path / "screen.svg"
    done = shoot(
        checkout, str(recording), str(picture), "--at", "end", "--size", "80x24", "--keys", "3 enter 5"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "spin-1[201] → spin-0[200]" in text_of(picture)


@pytest.mark.parametrize(("arguments", "words"), [(["--at", "noon"], "noon"), (["--size", "big"], "big")])
def test_a_bad_wish_is_explained(
    checkout: Path, recording: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = shoot(checkout, str(recording), str(tmp_path / "x.svg"), *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "next:" in done.stderr
