"""What came from other machines has a limit: what was used longest ago goes, and never what is in use."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.cli.travelled import say_removed
from ktstr_tui.memory import remote_room
from ktstr_tui.memory.find import Found
from ktstr_tui.memory.pages import MAGIC
from ktstr_tui.memory.remote import open_remote
from ktstr_tui.memory.remote_link import RemoteLink
from ktstr_tui.memory.remote_messages import SOCKET_NAME
from ktstr_tui.memory.remote_pages import REMOTE_FILE, Remote, RemotePages
from ktstr_tui.memory.remote_room import make_room
from ktstr_tui.memory.store import DIRECTORY, PAGES, SnapshotStore
from tests.unit.memory.made_up import ram, store_one
from tests.unit.memory.serving import RUN_ID, served

MIB = 1 << 20


def came(home: Path, run: str, used_s: int) -> Path:
    """A mebibyte that came of a run."""
    directory = home / f"id-{run}" / DIRECTORY
    directory.mkdir(parents=True)
    (directory / PAGES).write_bytes(MAGIC)
    (directory / "filler").write_bytes(b"x" * MIB)
    remote = Remote(socket=str(home / "none"), run=run, run_id=f"id-{run}")
    (directory / REMOTE_FILE).write_bytes(msgspec.json.encode(remote))
    os.utime(directory / REMOTE_FILE, (used_s, used_s))
    return directory


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        came(tmp_path, run, used_s) for run, used_s in (("old", 2), ("oldest", 1), ("new", 3), ("now", 0))
    ]
    monkeypatch.setattr(remote_room, "LIMIT_BYTES", 10 * MIB)
    assert make_room(tmp_path, made[3].parent) == ()
    monkeypatch.setattr(remote_room, "LIMIT_BYTES", 3 * MIB)
    removed = make_room(tmp_path, made[3].parent)
    assert [it.run for it in removed] == ["oldest", "old"]
    assert all(MIB <= it.size_bytes < MIB + 65536 for it in removed)
    assert [it.exists() for it in made] == [False, False, True, True]


def test_what_is_in_use_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_room, "LIMIT_BYTES", 0)
    used, free, now = (came(tmp_path, run, 1) for run in ("used", "free", "now"))
    with closing(RemotePages(used, RemoteLink(tmp_path / "none"))):
        assert [it.run for it in make_room(tmp_path, now.parent)] == ["free"]
        assert used.exists()
        assert not free.exists()
    assert [it.run for it in make_room(tmp_path, now.parent)] == ["used"]
    assert now.exists()


def test_who_opens_one_is_told_what_went_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    came(home, "before", 1)
    monkeypatch.setattr(remote_room, "LIMIT_BYTES", MIB)
    store = SnapshotStore(tmp_path / "there")
    store_one(store, "one", ram(1, 2))
    with served(store, tmp_path / "far"):
        opened = open_remote(tmp_path / "far" / SOCKET_NAME, "one", home)
    assert [it.name for it in home.iterdir()] == [RUN_ID]
    say_removed(Found(opened, "one"))
    assert "that had come of before, to stay within" in capsys.readouterr().err
