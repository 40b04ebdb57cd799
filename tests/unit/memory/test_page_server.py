"""A pager whose pages come over a socket: what travels, what is refused, and a connection that breaks."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ktstr_tui.memory.page_server import PageServer
from ktstr_tui.memory.pager_messages import BadPage, LinkBack, LinkLost
from ktstr_tui.memory.pager_source import SocketSource, store_source
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.memory.store import SnapshotStore
from ktstr_tui.model.errors import HostError
from tests.unit.memory.made_up import page, ram, store_one
from tests.unit.memory.paged import counted, paged_process, wait_until
from tests.unit.memory.paging import event_of, hashed, pager_of

SEEDS = (1, 2, 0, 4, 5, 6)


@asynccontextmanager
async def serving(store: SnapshotStore, snapshot: Snapshot, path: Path) -> AsyncIterator[PageServer]:
    with store.pages() as pages:
        server = PageServer(snapshot, pages)
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, path)
            yield server
            nursery.cancel_scope.cancel()


def made(tmp_path: Path) -> tuple[SnapshotStore, Snapshot, Path, SocketSource]:
    store = SnapshotStore(tmp_path)
    snapshot = store_one(store, "made", ram(*SEEDS))
    digests = store_source(snapshot, tmp_path).digests
    path = tmp_path / "pages.sock"
    return store, snapshot, path, SocketSource(path=path, pages=len(SEEDS), digests=digests)


async def test_only_pages_that_are_touched_travel(tmp_path: Path) -> None:
    store, snapshot, path, source = made(tmp_path)
    async with serving(store, snapshot, path) as server, pager_of(source) as pager:
        assert path.stat().st_mode & 0o777 == 0o600
        async with paged_process(pager, len(SEEDS)) as it:
            await it.ask("register")
            assert await it.ask("page", number=4) == hashed(page(5))
            assert await it.ask("page", number=2) == hashed(bytes(PAGE_BYTES))
            statistics = await counted(pager)
            assert (statistics.faults, statistics.zeros, sum(statistics.latency["remote"])) == (2, 1, 1)
            assert server.sent_pages == 1
    with pytest.raises(FileNotFoundError):
        os.lstat(path)


async def test_a_connection_that_breaks_is_made_again_and_the_guest_waits(tmp_path: Path) -> None:
    store, snapshot, path, source = made(tmp_path)
    async with pager_of(source) as pager, paged_process(pager, len(SEEDS)) as it:
        await it.ask("register")
        await it.ask("start_touch", count=len(SEEDS))
        lost = await event_of(pager, LinkLost)
        assert lost == LinkLost("No such file or directory")
        await wait_until(lambda: pager.statistics().parked == 1, "the touch waits")
        async with serving(store, snapshot, path):
            assert await event_of(pager, LinkBack) == LinkBack()
            await wait_until(lambda: pager.statistics().faults == len(SEEDS), "all pages are there")
            assert await it.ask("page", number=5) == hashed(page(6))
        assert (await counted(pager)).parked == 0
        assert pager.statistics().link_losses >= 1
        # A pager that waits for its source still ends when it is told to.
        await pager.shut_down()
        assert pager.ended is None


async def test_a_page_that_the_other_side_cannot_read_is_told(tmp_path: Path) -> None:
    store, snapshot, path, source = made(tmp_path)
    file = tmp_path / "pages"
    data = bytearray(file.read_bytes())
    assert source.digests is not None
    data[data.find(source.digests[16:32]) + 24 + 20] ^= 1
    file.write_bytes(data)
    async with (
        serving(store, snapshot, path) as server,
        pager_of(source) as pager,
        paged_process(pager, len(SEEDS)) as it,
    ):
        await it.ask("register")
        await it.ask("start_touch", count=2)
        assert await event_of(pager, BadPage) == BadPage(1, "the other side cannot read it")
        assert server.unreadable_pages >= 1


def answer_badly(listener: socket.socket, answers: list[bytes]) -> None:
    """Answer the first request of each connection with the next of these bytes, then close it."""
    for answer in answers:
        connection, _ = listener.accept()
        with connection:
            connection.recv(16)
            connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"\xff" * 16, "an answer to no question"),
        (bytes(8) + PAGE_BYTES.to_bytes(8, "little") + b"half a page", "broke in the middle of a page"),
        (b"", "the connection was closed"),
    ],
)
async def test_an_answer_that_is_none_breaks_the_connection(answer: bytes, why: str, tmp_path: Path) -> None:
    _, _, path, source = made(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with pager_of(source) as pager, paged_process(pager, len(SEEDS)) as it:
            await it.ask("register")
            right = bytes(8) + PAGE_BYTES.to_bytes(8, "little") + page(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, answer_badly, listener, [answer, right])
                await it.ask("start_touch", count=1)
                lost = await event_of(pager, LinkLost)
                assert isinstance(lost, LinkLost)
                assert why in lost.why
                assert await event_of(pager, LinkBack) == LinkBack()
            await wait_until(lambda: pager.statistics().faults == 1, "the page is there")
            assert await it.ask("page", number=0) == hashed(page(1))


async def test_a_page_that_was_changed_on_the_way_is_never_installed(tmp_path: Path) -> None:
    _, _, path, source = made(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with pager_of(source) as pager, paged_process(pager, len(SEEDS)) as it:
            await it.ask("register")
            wrong = bytes(8) + PAGE_BYTES.to_bytes(8, "little") + page(2)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, answer_badly, listener, [wrong])
                await it.ask("start_touch", count=1)
                assert await event_of(pager, BadPage) == BadPage(0, "what came is not what was stored")
            assert pager.statistics().faults == 0


async def test_nonsense_is_no_request(tmp_path: Path) -> None:
    store, snapshot, path, _ = made(tmp_path)
    async with serving(store, snapshot, path) as server:
        for request in (b"\x07" + bytes(15), bytes(16), (99 * PAGE_BYTES).to_bytes(8, "little") + bytes(8)):
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(request)
                assert await stream.receive_some() == b""
        assert server.sent_pages == 0
        with pytest.raises(HostError, match="cannot listen"):
            await server.run(path)
