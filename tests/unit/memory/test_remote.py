"""Snapshots on another machine: what travels, what is kept, what a link that breaks costs, and what is not believed."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import msgspec
import pytest
import trio
import zstandard

from ktstr_tui.memory import remote_messages as rm
from ktstr_tui.memory import remote_pages
from ktstr_tui.memory.explore import blob_bytes
from ktstr_tui.memory.find import find_here, find_snapshot
from ktstr_tui.memory.page_server import CLUSTER_PAGES, PageServer
from ktstr_tui.memory.pager_messages import LinkLost
from ktstr_tui.memory.pager_source import SocketSource, store_source
from ktstr_tui.memory.pages import PAGE_BYTES, DamagedError, digest_of
from ktstr_tui.memory.remote import RemoteStore, list_remote, open_remote, socket_of
from ktstr_tui.memory.remote_link import RemoteLink
from ktstr_tui.memory.remote_pages import RemotePages
from ktstr_tui.memory.store import SnapshotStore
from ktstr_tui.memory.stored_ram import SnapshotRam
from ktstr_tui.model.errors import HostError, UsageError
from tests.unit.memory.made_up import noise, page, ram, store_one
from tests.unit.memory.paged import counted, paged_process
from tests.unit.memory.paging import event_of, hashed, pager_of
from tests.unit.memory.serving import RUN_ID, served

SEEDS = (1, 2, 0, 4, 5, 6)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """There: a store with one snapshot."""
    made = SnapshotStore(tmp_path / "there")
    store_one(made, "one", ram(*SEEDS))
    return made


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """Here: the directory of the forwarded sockets."""
    return tmp_path / "far"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is away is waited for no longer."""
    monkeypatch.setattr(RemoteLink.__init__, "__defaults__", (0.0,))


def remote(far: Path, name: str = "one") -> RemoteStore:
    found = find_snapshot(f"{far}/{name}")
    assert isinstance(found.store, RemoteStore)
    return found.store


def read(store: RemoteStore, *pages: int) -> list[bytes]:
    """Some pages of the memory of the snapshot."""
    snapshot = store.read("one")
    with store.pages() as found:
        memory = SnapshotRam(snapshot, found)
        return [memory.read(number * PAGE_BYTES, PAGE_BYTES) for number in pages]


def test_it_is_found_by_the_directory_of_the_sockets(store: SnapshotStore, far: Path) -> None:
    with served(store, far):
        (path,) = far.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        listing = list_remote(path)
        assert (listing.run, listing.run_id) == ("tour", RUN_ID)
        assert [(it.name, it.kept) for it in listing.snapshots] == [("one", False)]
        found = find_snapshot(f"{far}/one")
        assert (found.run, found.name) == ("tour", "one")
        assert found.store.read("one") == store.read("one")
        with pytest.raises(UsageError, match="no snapshot two"):
            find_snapshot(f"{far}/two")
        with pytest.raises(UsageError, match="where its run is"):
            find_here(f"{far}/one")
    assert not far.joinpath(rm.SOCKET_NAME).exists()


def test_only_pages_that_are_touched_travel_and_none_twice(store: SnapshotStore, far: Path) -> None:
    with served(store, far) as server:
        near = remote(far)
        assert read(near, 4, 2) == [page(5), bytes(PAGE_BYTES)]
        assert (server.sent_pages, near.travelled.pages, near.here(near.read("one"))) == (1, 1, 1)
        assert 0 < near.travelled.bytes < 2 * PAGE_BYTES
        again = remote(far)
        assert read(again, 4, 0) == [page(5), page(1)]
        assert (server.sent_pages, again.travelled.pages) == (2, 1)


def test_a_long_read_asks_once(store: SnapshotStore, far: Path) -> None:
    store_one(store, "big", b"".join(noise(number) for number in range(40)))
    with served(store, far):
        near = remote(far, "big")
        with near.pages() as pages:
            memory = SnapshotRam(near.read("big"), pages)
            before = near.travelled.bytes
            assert memory.read(100, 39 * PAGE_BYTES)[-100:] == noise(39)[:100]
            assert near.travelled.pages == 40
            assert near.travelled.bytes - before < 41 * PAGE_BYTES
            assert blob_bytes(pages, near.read("big").initrd) == b"initrd" * 1000


def test_what_came_before_the_link_broke_does_not_come_again(
    store: SnapshotStore, far: Path, impatient: None
) -> None:
    with served(store, far):
        near = remote(far)
        assert read(near, 0, 1) == [page(1), page(2)]
    with pytest.raises(HostError, match="is away") as failure:
        read(near, 0, 3)
    assert "what came is kept" in failure.value.hint
    assert read(near, 0, 1) == [page(1), page(2)], "what is here needs no link"
    with served(store, far) as server:
        assert read(near, 0, 1, 3) == [page(1), page(2), page(4)]
        assert server.sent_pages == 1


def test_a_link_that_comes_back_in_time_is_waited_for(store: SnapshotStore, far: Path) -> None:
    with served(store, far):
        near = remote(far)
    got: list[bytes] = []
    with near.pages() as pages:
        asking = threading.Thread(target=lambda: got.append(pages.get(digest_of(page(4)))))
        asking.start()
        while not near.travelled.losses:
            threading.Event().wait(0.01)
        with served(store, far):
            asking.join()
    assert got == [page(4)]
    assert near.travelled.losses == 1
    assert "away once" in near.travelled.words()


def test_of_two_at_once_the_second_keeps_what_comes_for_itself(store: SnapshotStore, far: Path) -> None:
    with served(store, far) as server:
        near = remote(far)
        with near.pages() as first, near.pages() as second:
            digest = digest_of(page(6))
            assert second.get(digest) == second.get(digest) == page(6)
            assert server.sent_pages == 1
            assert first.get(digest) == page(6)
            assert server.sent_pages == 2
        assert read(near, 5) == [page(6)]
        assert server.sent_pages == 2


def test_a_snapshot_that_comes_later_is_seen(store: SnapshotStore, far: Path) -> None:
    with served(store, far):
        near = remote(far)
        with near.pages() as pages:
            assert pages.get(digest_of(page(1))) == page(1)
            store_one(store, "two", ram(9))
            assert pages.get(digest_of(page(9))) == page(9)
            with pytest.raises(DamagedError, match="where the snapshot lies"):
                pages.get(digest_of(page(77)))


def test_a_damaged_copy_here_is_fetched_anew(store: SnapshotStore, far: Path) -> None:
    with served(store, far):
        near = remote(far)
        assert read(near, 0) == [page(1)]
        file = near.directory / "pages"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        assert read(near, 0) == [page(1)]


BAD_PAGES = {
    "another page": zstandard.ZstdCompressor().compress(page(2)),
    "not packed": b"nonsense",
    "much longer": zstandard.ZstdCompressor().compress(bytes(64 << 20)),
    "of zeros": bytes(PAGE_BYTES),
}


@pytest.mark.parametrize("what", BAD_PAGES)
def test_what_comes_is_not_believed(what: str, tmp_path: Path, far: Path) -> None:
    far.mkdir()
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "pages").write_bytes(b"KTPAGES1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(far / rm.SOCKET_NAME))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(rm.encode(rm.StoredPages((BAD_PAGES[what],))))

        thread = threading.Thread(target=answer)
        thread.start()
        pages = RemotePages(directory, RemoteLink(far / rm.SOCKET_NAME, 0.0))
        with pytest.raises(DamagedError):
            pages.get(digest_of(page(1)))
        pages.close()
        thread.join()
    assert (directory / "pages").read_bytes() == b"KTPAGES1"


@pytest.mark.parametrize(
    "answer",
    [rm.encode(rm.FileBytes(b"")), struct.pack("<I", 3) + b"abc", struct.pack("<I", (1 << 32) - 1)],
)
def test_an_answer_that_is_none_is_told(answer: bytes, far: Path) -> None:
    far.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(far / rm.SOCKET_NAME))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(rm.MessageError):
            list_remote(far / rm.SOCKET_NAME)
        thread.join()


def test_nonsense_ends_the_connection_and_nothing_else(store: SnapshotStore, far: Path) -> None:
    with served(store, far):
        for request in (struct.pack("<I", 1 << 20), struct.pack("<I", 3) + b"abc"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(far / rm.SOCKET_NAME))
                connection.sendall(request)
                assert connection.recv(100) == b""
        link = RemoteLink(far / rm.SOCKET_NAME, 0.0)
        for name in ("../one", "/etc/passwd", "", "nobody"):
            with pytest.raises(UsageError, match="there is no snapshot"):
                link.ask(rm.GetFile(name), rm.FileBytes)
        link.close()


def test_a_run_names_no_place_of_this_machine(store: SnapshotStore, far: Path, tmp_path: Path) -> None:
    with served(store, far), pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemoteLink, "ask", lambda *_: rm.Listing("tour", "../../outside", ()))
        with pytest.raises(rm.MessageError, match="no id"):
            open_remote(far / rm.SOCKET_NAME, "one")
        listing = rm.Listing("tour", "id", (rm.StoredOne(name="../x", kept=False, info=None),))
        patch.setattr(RemoteLink, "ask", lambda *_: listing)
        with pytest.raises(UsageError, match="no snapshot"):
            open_remote(far / rm.SOCKET_NAME, "../x")
    assert not (tmp_path / "state").exists()


def test_a_socket_that_was_not_forwarded_is_named(far: Path) -> None:
    far.mkdir()
    assert socket_of(far) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(far / "control.sock"))
        with pytest.raises(UsageError, match=r"no socket snapshots\.sock") as failure:
            find_snapshot(f"{far}/one")
    assert "ssh -N -L" in failure.value.hint


async def test_a_guest_is_paged_from_there_and_waits_for_a_link_that_is_away(
    store: SnapshotStore, far: Path, tmp_path: Path, impatient: None
) -> None:
    snapshot = store_one(store, "big", ram(*range(1, 41)))
    with served(store, far) as server:
        near = remote(far, "big")
        digests = store_source(snapshot, near.directory).digests
        source = SocketSource(path=tmp_path / "pages.sock", pages=40, digests=digests)
        pages = remote_pages.open_pages(near.directory)
        assert isinstance(pages, RemotePages)
        async with trio.open_nursery() as nursery:
            await nursery.start(PageServer(snapshot, pages, pages).run, source.path)
            async with pager_of(source) as pager, paged_process(pager, 40) as it:
                await it.ask("register")
                assert await it.ask("page", number=4) == hashed(page(5))
                assert await it.ask("page", number=7) == hashed(page(8))
                assert server.sent_pages == CLUSTER_PAGES
                os.rename(far / rm.SOCKET_NAME, far / "away")
                pages._link.close()
                await it.ask("start_touch", count=20)
                assert isinstance(await event_of(pager, LinkLost), LinkLost)
                os.rename(far / "away", far / rm.SOCKET_NAME)
                with trio.fail_after(60):
                    assert await it.ask("page", number=17) == hashed(page(18))
            nursery.cancel_scope.cancel()
        assert server.sent_pages == 2 * CLUSTER_PAGES
        pages.close()


async def test_a_guest_gets_what_came_before_without_asking(
    store: SnapshotStore, far: Path, tmp_path: Path
) -> None:
    snapshot = store_one(store, "big", ram(*range(1, 41)))
    with served(store, far) as server:
        near = remote(far, "big")
        with near.pages() as found:
            assert found.get_many([digest_of(page(5)), digest_of(page(6))]) == [page(5), page(6)]
        stored = store_source(snapshot, near.directory)
        content = bytearray(stored.path.read_bytes())
        content[content.find(digest_of(page(6))) + 24 + 20] ^= 1
        stored.path.write_bytes(content)
        source = SocketSource(
            path=tmp_path / "pages.sock", pages=40, digests=stored.digests, here=stored.path
        )
        async with pager_of(source) as pager, paged_process(pager, 40) as it:
            await it.ask("register")
            assert await it.ask("page", number=4) == hashed(page(5)), "nobody listens yet"
            statistics = await counted(pager)
            assert sum(statistics.latency["local"]) == statistics.faults == 1
            assert statistics.link_losses == 0
            async with trio.open_nursery() as nursery:
                with store.pages() as pages:
                    await nursery.start(PageServer(snapshot, pages).run, source.path)
                    # What is here and damaged, and what never came.
                    for number in (5, 6):
                        assert await it.ask("page", number=number) == hashed(page(number + 1))
                    assert sum((await counted(pager)).latency["remote"]) == 2
                    nursery.cancel_scope.cancel()
        assert server.sent_pages == 2


def test_the_messages_have_limits() -> None:
    with pytest.raises(rm.MessageError):
        rm.decode_asked(msgspec.msgpack.encode({"type": "pages", "digests": bytes(16 * 257)}))
