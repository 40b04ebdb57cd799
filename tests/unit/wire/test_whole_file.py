"""A file is complete or not there: nobody finds half of one, and what failed leaves the old one alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktstr_tui.wire.whole_file import write_whole


@pytest.mark.parametrize("lasting", [True, False])
def test_the_old_file_is_there_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lasting: bool
) -> None:
    path = tmp_path / "below/file"
    write_whole(path, b"old", lasting=lasting)
    assert path.stat().st_mode & 0o777 == 0o600
    rename = Path.rename

    def look(new: Path, target: Path) -> Path:
        assert path.read_bytes() == b"old"
        assert new.read_bytes() == b"new", "all of it is there before it has the name"
        return rename(new, target)

    monkeypatch.setattr(Path, "rename", look)
    write_whole(path, b"new", lasting=lasting)
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("lasting", [True, False])
def test_one_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lasting: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(new: Path, target: Path) -> Path:
        raise OSError(f"no {new} to {target}")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no "):
        write_whole(path, b"new", lasting=lasting)
    assert {it.name: it.read_bytes() for it in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("lasting", [True, False])
def test_only_what_must_outlast_a_crash_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lasting: bool
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    write_whole(tmp_path / "file", b"data", lasting=lasting)
    assert len(flushed) == 2 * lasting, "the file, then its directory"
