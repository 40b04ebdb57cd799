"""Snapshots on disk: shared pages, whole commits, and damage that is found."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES, ZERO, DamagedError, PageFile, digest_of
from ktstr_tui.memory.snapshot import Blob, decode_snapshot
from ktstr_tui.memory.store import PAGES, SnapshotStore
from ktstr_tui.model.errors import HostError, UsageError
from tests.unit.memory.made_up import noise, page, ram, store_one
from tests.unit.ops.full_disk import files_end_at


def test_what_is_stored_is_read_again_and_pages_are_shared(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    first = store_one(store, "first", ram(1, 0, 2, 1))
    second = store_one(store, "second", ram(1, 0, 2, 3))
    assert (first.info.new_pages, second.info.new_pages) == (2, 1)
    assert store.names() == ["first", "second"]
    assert store.read("second") == second
    with store.pages() as pages:
        (memory,) = second.memory
        assert b"".join(pages.get(memory.digest(at)) for at in range(memory.pages)) == ram(1, 0, 2, 3)
    assert memory.digest(1) == ZERO


def test_a_page_that_does_not_shrink_is_kept_as_it_is(tmp_path: Path) -> None:
    file = PageFile(tmp_path / "pages", writing=True)
    digests, new = file.add([noise(1), noise(1), page(2)])
    assert new == 2
    assert [file.get(digests[at : at + DIGEST_BYTES]) for at in range(0, len(digests), DIGEST_BYTES)] == [
        noise(1),
        noise(1),
        page(2),
    ]


def test_a_name_is_taken_once_and_odd_names_are_refused(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "one", ram(1))
    with pytest.raises(UsageError, match="one already"):
        store_one(store, "one", ram(2))
    with pytest.raises(UsageError, match="cannot be a snapshot's name"):
        store_one(store, "../one", ram(2))
    with pytest.raises(UsageError, match="no snapshot two"):
        store.read("two")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    with store.writing(), pytest.raises(HostError, match="somebody else"), store.writing():
        pass


def test_removing_gives_back_what_nobody_names(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "first", ram(*range(1, 40)))
    second = store_one(store, "second", ram(1, 2))
    assert store.collect() == 0
    store.remove("first")
    assert store.collect() > 0
    assert [it.damage for it in store.verify()] == [()]
    with closing(PageFile(store.directory / PAGES)) as pages:
        assert pages.statistics().pages == len(second.wanted() - {ZERO})


def test_the_oldest_that_nobody_keeps_goes_first(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s", limit_bytes=1)
    for number, name in enumerate(("kept", "old", "new")):
        store_one(store, name, ram(number + 1))
    store.keep("kept")
    assert SnapshotStore(tmp_path / "s", limit_bytes=0).evict() == [], "no limit"
    assert store.evict() == ["old"]
    assert store.names() == ["kept", "new"]
    store.keep("kept", kept=False)
    assert store.evict() == ["kept"]


def test_any_flipped_bit_is_reported(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "one", ram(1, 2, 3, 0))
    chance = random.Random(7)
    for path in (tmp_path / "s" / PAGES, tmp_path / "s" / "one.snap"):
        whole = path.read_bytes()
        for _ in range(200):
            at, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            (verdict,) = store.verify()
            assert verdict.damage, f"bit {bit:#x} of byte {at} of {path.name}"
        path.write_bytes(whole)
    assert store.verify()[0].damage == ()


@given(st.binary(max_size=200))
def test_nonsense_is_no_snapshot(data: bytes) -> None:
    with pytest.raises(DamagedError):
        decode_snapshot(b"KTSNAP01" + data, Path("x.snap"))


@given(st.integers(0, 1 << 20), st.binary(max_size=64))
def test_digests_fit_the_size(size: int, digests: bytes) -> None:
    pages = -(-size // PAGE_BYTES)
    if len(digests) == pages * DIGEST_BYTES:
        assert Blob(size_bytes=size, digests=digests).pages == pages
    else:
        with pytest.raises(ValueError, match="digests"):
            Blob(size_bytes=size, digests=digests)


def test_what_a_crash_left_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    file = PageFile(path, writing=True)
    file.add([page(1), page(2)])
    whole = path.read_bytes()
    file.close()
    for end in range(len(whole) - 1, len(whole) - 40, -1):
        path.write_bytes(whole[:end])
        again = PageFile(path, writing=True)
        assert again.statistics().torn_bytes > 0
        assert again.get(digest_of(page(1))) == page(1)
        again.add([page(2)])
        assert path.read_bytes() == whole
        again.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from ktstr_tui.memory.store import SnapshotStore
from tests.unit.memory.made_up import ram, store_one
left = int(sys.argv[2])
def step(name):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
store = SnapshotStore(Path(sys.argv[1]), step=step)
store_one(store, "second", ram(*range(50, 90)))
"""


def test_killed_at_any_step_the_store_verifies(tmp_path: Path) -> None:
    reached = 0
    for steps in range(20):
        directory = tmp_path / str(steps)
        store = SnapshotStore(directory)
        store_one(store, "first", ram(1, 2, 3))
        ended = subprocess.run([sys.executable, "-c", KILLED, str(directory), str(steps)], check=False)
        verdicts = store.verify()
        assert [it.damage for it in verdicts] == [() for _ in verdicts]
        if ended.returncode == 0:
            assert store.names() == ["first", "second"]
            break
        assert ended.returncode == -signal.SIGKILL
        # Killed before the rename there is the old one only; after it both.
        assert store.names() in (["first"], ["first", "second"])
        store_one(store, "third", ram(1, 60))
        assert store.verify()[-1].damage == ()
        reached += 1
    assert reached == 7, "every step of a commit was one to die at"


def test_a_full_disk_leaves_old_snapshots_intact(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "first", ram(1, 2, 3))
    with files_end_at(64 << 10), pytest.raises(HostError, match="cannot be written"):
        store_one(store, "second", b"".join(noise(number) for number in range(100)))
    assert store.names() == ["first"]
    assert store.verify()[0].damage == ()
    store_one(store, "third", ram(1, 4))
    assert [it.damage for it in store.verify()] == [(), ()]


def test_writing_anew_leaves_out_what_is_damaged_and_nothing_else(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "first", ram(1, 2, 3))
    second = store_one(store, "second", ram(2, 3, 4))
    path = store.directory / PAGES
    [damaged] = (second.memory[0].digest(0),)
    with closing(PageFile(path)) as pages:
        at = path.read_bytes().index(pages.stored(damaged))
    data = bytearray(path.read_bytes())
    data[at + 10] ^= 1
    path.write_bytes(data)
    store.remove("first")
    assert store.collect() > 0
    [verdict] = store.verify()
    assert verdict.damage == (f"{path} lacks page {damaged.hex()}",)


def test_what_holds_nothing_else_is_not_written_anew(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "only", ram(1, 2, 3))
    path = store.directory / PAGES
    before = path.stat().st_ino
    assert store.collect() == 0
    assert path.stat().st_ino == before
    with path.open("ab") as file:
        file.write(b"torn")
    assert store.collect() == 4


def test_a_file_that_somebody_renamed_is_told_how_it_may_be_called(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "s")
    store_one(store, "one", ram(1))
    (store.directory / "one.snap").rename(store.directory / "ön e.snap")
    assert store.names() == ["ön e"]
    with pytest.raises(UsageError, match="cannot be a snapshot's name") as caught:
        store.read("ön e")
    assert "rename" in caught.value.hint
