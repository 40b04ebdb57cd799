"""Reading RAM that is still being loaded: always what the guest would read, and never a page that becomes zeros."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ktstr_tui.backend import lazily
from ktstr_tui.backend.lazily import pages_to_load, require_resident
from ktstr_tui.guest.ram import LOADING
from ktstr_tui.guest.run_ram import open_ram_of
from ktstr_tui.kernel.memory import GuestRam, OutOfRange
from ktstr_tui.memory import lazy_ram, stored_ram
from ktstr_tui.memory.lazy_ram import LazyRam
from ktstr_tui.memory.long_reads import LongReads
from ktstr_tui.memory.pager_source import store_source
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.restored import RestoredOrigin
from ktstr_tui.memory.store import SnapshotStore
from ktstr_tui.memory.stored_ram import SnapshotRam
from ktstr_tui.model.errors import UsageError
from tests.unit.memory.made_up import page, ram, store_one
from tests.unit.memory.paged import counted, paged_process
from tests.unit.memory.paging import hashed, pager_of

SEEDS = (1, 2, 0, 4, 5, 0, 7, 8)
WHOLE = ram(*SEEDS)


class Arrived:
    """Pages that a test says are there."""

    resident = False

    def __init__(self) -> None:
        self.pages: set[int] = set()

    def is_there(self, number: int) -> bool:
        return number in self.pages


@pytest.fixture
def lazy(tmp_path: Path, ram_fd: int) -> Iterator[tuple[LazyRam, Arrived]]:
    store = SnapshotStore(tmp_path)
    snapshot = store_one(store, "made", WHOLE)
    os.ftruncate(ram_fd, len(WHOLE))
    arrived = Arrived()
    with store.pages() as pages, closing(GuestRam.from_fds([(ram_fd, 0, 0, len(WHOLE))])) as live:
        kept = LongReads(tmp_path / "kept")
        yield LazyRam(live, SnapshotRam(snapshot, pages, kept), arrived), arrived


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(phys=st.integers(0, len(WHOLE) - 1), length=st.integers(0, 3 * PAGE_BYTES))
def test_what_is_missing_is_read_from_the_snapshot(
    lazy: tuple[LazyRam, Arrived], ram_fd: int, phys: int, length: int
) -> None:
    memory, _ = lazy
    length = min(length, len(WHOLE) - phys)
    assert memory.read(phys, length) == WHOLE[phys : phys + length]
    # Nothing was made of the holes.
    assert os.fstat(ram_fd).st_blocks == 0


def test_what_is_there_is_read_from_the_guest(lazy: tuple[LazyRam, Arrived], ram_fd: int) -> None:
    memory, arrived = lazy
    assert memory.read(PAGE_BYTES, 4) == page(2)[:4]
    os.pwrite(ram_fd, b"new!", PAGE_BYTES)
    assert memory.read(PAGE_BYTES, 4) == page(2)[:4]
    arrived.pages.add(1)
    assert memory.read(PAGE_BYTES, 4) == b"new!"
    assert memory.u64(PAGE_BYTES - 4) == int.from_bytes(page(1)[-4:] + b"new!", "little")
    with pytest.raises(OutOfRange):
        memory.read(len(WHOLE) - 4, 8)
    with pytest.raises(OutOfRange):
        memory.u64(len(WHOLE))


def test_a_long_read_has_what_is_there_in_its_place(
    lazy: tuple[LazyRam, Arrived], ram_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (lazy_ram, stored_ram):
        monkeypatch.setattr(module, "LONG_BYTES", 2 * PAGE_BYTES)
    memory, arrived = lazy
    start, length = PAGE_BYTES - 8, 3 * PAGE_BYTES
    for _ in range(2):
        assert memory.read(start, length) == WHOLE[start : start + length]
    os.pwrite(ram_fd, b"new!", 2 * PAGE_BYTES)
    arrived.pages.add(2)
    os.pwrite(ram_fd, b"late", 3 * PAGE_BYTES)
    expected = bytearray(WHOLE)
    expected[2 * PAGE_BYTES : 3 * PAGE_BYTES] = b"new!".ljust(PAGE_BYTES, b"\0")
    assert memory.read(start, length) == expected[start : start + length]
    with pytest.raises(OutOfRange):
        memory.read(start, len(WHOLE))


async def test_a_restore_with_a_pager_keeps_others_away_until_all_is_there(
    tmp_path: Path, ram_fd: int
) -> None:
    store = SnapshotStore(tmp_path)
    snapshot = store_one(store, "made", WHOLE)
    with closing(RestoredOrigin(tmp_path / "made.snap", tmp_path)) as origin:
        assert (origin.paging, pages_to_load(origin)) == (None, 0)
        async with pager_of(store_source(snapshot, tmp_path)) as pager:
            origin.page_with(pager)
            origin.copy_ram([ram_fd])
            assert os.fstat(ram_fd).st_blocks == 0
            assert pages_to_load(origin) == 6
            with pytest.raises(UsageError, match="still being loaded: 6 pages left"):
                require_resident(origin)
            with pytest.raises(UsageError, match="is still being loaded"), open_ram_of(os.getpid()):
                pass
            async with paged_process(pager, len(SEEDS), ram_fd=ram_fd) as it:
                assert await it.ask("register") is None
                origin.load(3 * PAGE_BYTES - 8, 16)
                assert os.pread(ram_fd, PAGE_BYTES, 3 * PAGE_BYTES) == page(4)
                assert [origin.is_there(number) for number in range(5)] == [False] * 3 + [True, False]
                assert await it.ask("page", number=0) == hashed(page(1))
                assert (await counted(pager)).left == 4
                await pager.fill()
                await pager.wait_resident()
                await pager.shut_down()
                # What is missing is made by the kernel again.
                assert await it.ask("page", number=2) == hashed(bytes(PAGE_BYTES))
                assert await it.ask("page", number=7) == hashed(page(8))
            origin.arrived()
            assert pages_to_load(origin) == 0
    links = [os.readlink(entry) for entry in await trio.to_thread.run_sync(descriptors)]
    assert not [link for link in links if LOADING in link]


def descriptors() -> list[Path]:
    return [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


async def test_a_page_that_cannot_be_loaded_is_not_written_to(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    snapshot = store_one(store, "made", WHOLE)
    async with pager_of(store_source(snapshot, tmp_path)) as pager:
        with pytest.raises(UsageError, match="no region has it"):
            pager.load(0, 1)
        with pytest.raises(UsageError, match="behind the image"):
            pager.load(7, 2)


class Coming(RestoredOrigin):
    """A snapshot of which so many pages are left at each look."""

    lefts: Iterator[int]

    @property
    def pages_left(self) -> int:
        return next(self.lefts)


async def test_progress_is_told_when_there_is_some(tmp_path: Path, autojump_clock: MockClock) -> None:
    store_one(SnapshotStore(tmp_path), "made", ram(*range(1, 201)))
    told = []
    with closing(Coming(tmp_path / "made.snap", tmp_path)) as origin:
        origin.lefts = iter((200, 199, 198, 198, 198, 197, 100, 100, 0))
        with trio.move_on_after(9.2 * lazily.TELL_EVERY_S):
            await lazily._tell_progress(origin, lambda _phase, left: told.append(left))
    assert told == [198, 100, 0]


@pytest.mark.parametrize("removed", [False, True])
def test_the_first_uses_are_kept_beside_a_snapshot_that_is_there(removed: bool, tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store_one(store, "made", WHOLE)
    if removed:
        store.remove("made")
    lazily._keep_order(tmp_path / "made.order", (3, 1))
    assert (tmp_path / "made.order").exists() is not removed
