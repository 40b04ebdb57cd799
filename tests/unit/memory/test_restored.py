"""A snapshot as what a machine starts from: its RAM to the byte, or an error, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktstr_tui.guest.ram import data_ranges
from ktstr_tui.memory.pages import PAGE_BYTES, DamagedError
from ktstr_tui.memory.raw_cache import RawCache
from ktstr_tui.memory.restored import RestoredOrigin
from ktstr_tui.memory.store import PAGES, SnapshotStore
from tests.unit.memory.made_up import noise, page, ram, store_one

MEMORY = ram(1, 0, 2, 2) + noise(7) + ram(0, 0, 3)


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    made = SnapshotStore(tmp_path / "s")
    store_one(made, "one", MEMORY)
    return made


def filled(store: SnapshotStore, tmp_path: Path, cache: str = "none") -> bytes:
    kept = RawCache(tmp_path / cache) if cache != "none" else RawCache(Path("/proc/none"))
    origin = RestoredOrigin(store.directory / "one.snap", tmp_path, kept)
    fd = os.memfd_create("ram")
    try:
        assert origin.state.read_bytes() == b"state of one"
        os.ftruncate(fd, len(MEMORY))
        origin.copy_ram([fd])
        assert origin.filled_pages == 5
        assert sum(stop - start for start, stop in data_ranges(fd)) == 5 * PAGE_BYTES, "zeros are holes"
        return os.pread(fd, len(MEMORY), 0)
    finally:
        os.close(fd)
        origin.close()
        assert not origin.state.exists()


def test_the_memory_is_what_was_stored(store: SnapshotStore, tmp_path: Path) -> None:
    assert filled(store, tmp_path) == MEMORY


def test_the_second_restore_copies_what_the_first_unpacked(store: SnapshotStore, tmp_path: Path) -> None:
    assert filled(store, tmp_path, "cache") == MEMORY
    [image] = (tmp_path / "cache").iterdir()
    (store.directory / PAGES).rename(tmp_path / "away")
    # Without the page file there is no state either, so only the memory is asked for.
    snapshot = store.read("one")
    fd = os.memfd_create("ram")
    try:
        assert RawCache(tmp_path / "cache").copy_to(snapshot, [fd])
        assert os.pread(fd, len(MEMORY), 0) == MEMORY
        (image / "ram0").unlink()
        assert not RawCache(tmp_path / "cache").copy_to(snapshot, [fd])
    finally:
        os.close(fd)


def test_an_image_belongs_to_one_memory_and_the_oldest_goes_first(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_one(store, "two", ram(9, 0, 2, 2) + noise(7) + ram(0, 0, 3))
    cache = RawCache(tmp_path / "cache")
    fd = os.memfd_create("ram")
    try:
        os.pwrite(fd, MEMORY, 0)
        cache.keep(store.read("one"), [fd])
        assert not cache.copy_to(store.read("two"), [fd])
        monkeypatch.setattr("ktstr_tui.memory.raw_cache.LIMIT_BYTES", 2 * len(MEMORY) - 1)
        [first] = cache.directory.iterdir()
        os.utime(first, (1, 1))
        cache.keep(store.read("two"), [fd])
        assert [it.name for it in cache.directory.iterdir()] != [first.name]
        assert len(list(cache.directory.iterdir())) == 1
    finally:
        os.close(fd)


def test_any_damaged_page_is_an_error_and_never_memory(store: SnapshotStore, tmp_path: Path) -> None:
    whole = (store.directory / PAGES).read_bytes()
    # Behind the header: damage there hides the page, which is an error as well.
    for at in range(8 + 24, 4 * PAGE_BYTES, 97):
        damaged = bytearray(whole)
        if at >= len(damaged):
            break
        damaged[at] ^= 0x10
        (store.directory / PAGES).write_bytes(damaged)
        try:
            assert filled(store, tmp_path) == MEMORY, "only what nothing of RAM is in may be damaged unseen"
        except DamagedError:
            continue


def test_several_pages_are_read_as_one_by_one(store: SnapshotStore) -> None:
    snapshot = store.read("one")
    (memory,) = snapshot.memory
    wanted = [memory.digest(at) for at in (0, 2, 4, 7, 0)]
    with store.pages() as pages:
        assert pages.get_many(wanted) == [pages.get(digest) for digest in wanted]
        assert pages.get_many([]) == []
        with pytest.raises(DamagedError, match="lacks page"):
            pages.get_many([wanted[0], b"\xff" * 16])
    assert page(1) != page(2)
