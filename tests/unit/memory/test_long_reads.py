"""Long reads are kept by content: never another content, never a damaged one, never more than the limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktstr_tui.memory import long_reads
from ktstr_tui.memory.long_reads import LONG_BYTES, LongReads
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.store import SnapshotStore
from ktstr_tui.memory.stored_ram import SnapshotRam
from tests.unit.memory.made_up import ram, store_one

PAGES = 2 * LONG_BYTES // PAGE_BYTES
WHOLE = ram(*range(1, PAGES + 1))


def test_what_was_read_before_is_not_unpacked_again(tmp_path: Path) -> None:
    store, kept = SnapshotStore(tmp_path), LongReads(tmp_path / "kept")
    snapshot = store_one(store, "made", WHOLE)
    start, stop = 5 * PAGE_BYTES + 3, 5 * PAGE_BYTES + 3 + LONG_BYTES
    with store.pages() as pages:
        first, again = (SnapshotRam(snapshot, pages, kept) for _ in range(2))
        assert first.read(start, LONG_BYTES) == WHOLE[start:stop]
        assert first.pages_loaded == LONG_BYTES // PAGE_BYTES + 1
        assert again.read(start, LONG_BYTES) == WHOLE[start:stop]
        assert again.pages_loaded == 0
        # The next stretch is another one, and short reads are not kept.
        assert again.read(start + PAGE_BYTES, LONG_BYTES) == WHOLE[start + PAGE_BYTES : stop + PAGE_BYTES]
        assert again.read(0, LONG_BYTES - 1) == WHOLE[: LONG_BYTES - 1]
    assert len(list(kept.directory.iterdir())) == 2


def test_a_damaged_one_is_never_data(tmp_path: Path) -> None:
    kept = LongReads(tmp_path)
    kept.keep(b"digests", b"content")
    assert kept.get(b"digests") == b"content"
    assert kept.get(b"others") is None
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"\0\0", file.read_bytes()[:-1], file.read_bytes()[:-1] + b"T"):
        file.write_bytes(damage)
        assert kept.get(b"digests") is None
        assert not file.exists()


def test_what_was_not_used_for_the_longest_time_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_reads, "LIMIT_BYTES", 250)
    kept = LongReads(tmp_path)
    for number in range(3):
        kept.keep(bytes([number]), bytes([number]) * 100)
        for age, name in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime)):
            os.utime(name, (age + number, age + number))
        assert kept.get(b"\0") == bytes(100)
    assert kept.get(b"\1") is None
    assert kept.get(b"\2") == b"\2" * 100


def test_without_room_reads_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = LongReads(tmp_path / "file")
    kept.keep(b"digests", b"content")
    assert kept.get(b"digests") is None
