"""The pager as a process, against processes whose memory it really pages."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui._native import ffi, lib
from ktstr_tui.memory.pager import (
    open_pager,
)
from ktstr_tui.memory.pager_messages import (
    Resident,
)
from ktstr_tui.memory.pager_process import why_not_lazily
from ktstr_tui.memory.pager_source import (
    PrewarmList,
    StoreSource,
    decode_pages,
    encode_pages,
)
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.model.errors import HostError
from tests.unit.memory.made_up import page
from tests.unit.memory.paged import counted, paged_process, wait_until
from tests.unit.memory.paging import ZEROS, event_of, hashed, pager_of, raw, served, stored


def test_this_host_permits_it() -> None:
    assert why_not_lazily() is None


async def test_pages_come_as_they_were_stored(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, 1, 0, 2, 1)) as pager,
        paged_process(pager, 4, ram_fd=ram_fd) as it,
    ):
        assert await it.ask("register") is None
        assert [await it.ask("page", number=n) for n in (2, 0, 1, 3)] == [
            hashed(content) for content in (page(2), page(1), ZEROS, page(1))
        ]
        statistics = await counted(pager)
        assert (statistics.faults, statistics.zeros, statistics.left) == (4, 1, 0)
        assert statistics.served_bytes == 4 * PAGE_BYTES
        assert pager.order() == (2, 0, 1, 3)
        assert sum(statistics.latency["local"]) == 3
        assert sum(statistics.latency["zero"]) == 1
        assert await event_of(pager, Resident) == Resident()


async def test_pager_serves_concurrent_faults_without_corrupting_stats(tmp_path: Path, ram_fd: int) -> None:
    content = b"".join(n.to_bytes(2, "little") * (PAGE_BYTES // 2) for n in range(1, 401))
    async with (
        pager_of(raw(tmp_path, content)) as pager,
        paged_process(pager, 400, ram_fd=ram_fd) as it,
    ):
        assert await it.ask("register") is None
        assert await it.ask("touch", threads=4, count=100) == sum(n & 255 for n in range(1, 401))
        statistics = await counted(pager)
        assert (statistics.faults, statistics.twice, served(statistics)) == (400, 0, 400)
        assert sorted(pager.order()) == list(range(400))
        whole = os.pread(ram_fd, len(content), 0)
    assert whole == content


async def test_two_faults_on_one_page_are_served_once(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 401))) as pager,
        paged_process(pager, 400, ram_fd=ram_fd) as it,
    ):
        assert await it.ask("register") is None
        await it.ask("touch", threads=4, count=400, same=True)
        statistics = await counted(pager)
        assert statistics.faults == 400
        assert len(set(pager.order())) == 400
        assert served(statistics) == 400 + statistics.twice


async def test_regions_are_checked(tmp_path: Path) -> None:
    async with pager_of(stored(tmp_path, *range(1, 9))) as pager, paged_process(pager, 8) as it:
        for arguments, why in (
            ({"page_bytes": 0}, "not a power of two"),
            ({"page_bytes": 12288}, "not a power of two"),
            ({"page_bytes": 2 << 20}, "only pages of 4096 bytes"),
            ({"size": 9 * PAGE_BYTES}, "ends behind the image"),
            ({"size": 100}, "not multiples"),
            ({"shift": 16}, "not multiples"),
        ):
            assert why in await it.ask("register", **arguments)
        assert await it.ask("register") is None
        assert "overlaps" in await it.ask("register", size=PAGE_BYTES, shift=7 * PAGE_BYTES)
        # It is still served by the region that was taken.
        assert await it.ask("page", number=7) == hashed(page(8))


async def test_a_region_of_another_node_is_found_by_its_offset(tmp_path: Path) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 9))) as pager,
        paged_process(pager, 4) as low,
        paged_process(pager, 4, offset_pages=4) as high,
    ):
        assert await low.ask("register") is None
        assert await high.ask("register") is None
        assert await high.ask("page", number=3) == hashed(page(8))
        assert await low.ask("page", number=3) == hashed(page(4))
        await counted(pager)
        assert pager.order() == (7, 3)


async def test_memory_of_this_process_is_paged(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, 1, 2, 3, 4)) as pager,
        paged_process(pager, 4, ram_fd=ram_fd) as it,
    ):
        assert await it.ask("register") is None
        with mmap.mmap(ram_fd, 4 * PAGE_BYTES, mmap.MAP_SHARED, mmap.PROT_READ) as view:
            await pager.register_region(view)
            assert view[2 * PAGE_BYTES : 3 * PAGE_BYTES] == page(3)
            # Both map one file, so what came for one is there for the other.
            assert await it.ask("page", number=2) == hashed(page(3))
            assert (await counted(pager)).faults == 1


async def test_prewarmed_pages_are_there_before_the_region_is(tmp_path: Path, ram_fd: int) -> None:
    prewarm = PrewarmList.from_boot_critical(2 * PAGE_BYTES + 7, 5 * PAGE_BYTES, 6 * PAGE_BYTES + 4095)
    assert prewarm == PrewarmList((2, 5, 6))
    async with (
        pager_of(stored(tmp_path, *range(1, 9)), prewarm=PrewarmList((*prewarm.pages, 999))) as pager,
        paged_process(pager, 8, ram_fd=ram_fd) as it,
    ):
        assert await it.ask("register") is None
        statistics = await counted(pager)
        assert (statistics.prewarmed, statistics.faults) == (3, 0)
        assert os.pread(ram_fd, PAGE_BYTES, 5 * PAGE_BYTES) == page(6)
        assert os.pread(ram_fd, PAGE_BYTES, 4 * PAGE_BYTES) == ZEROS
        await it.ask("touch", threads=1, count=8)
        assert (await counted(pager)).faults == 5


async def test_the_first_uses_of_one_guest_are_the_list_of_the_next(tmp_path: Path, ram_fd: int) -> None:
    source = stored(tmp_path, *range(1, 33))
    async with pager_of(source) as pager, paged_process(pager, 32) as it:
        await it.ask("register")
        for number in (9, 4, 30):
            await it.ask("page", number=number)
        await counted(pager)
        order = decode_pages(encode_pages(pager.order()) + b"torn")
    assert order == (9, 4, 30)
    async with pager_of(source, prefetch=order) as pager, paged_process(pager, 32, ram_fd=ram_fd) as it:
        await it.ask("register")
        await wait_until(lambda: pager.statistics().prefetched == 3, "the list is loaded")
        assert os.pread(ram_fd, PAGE_BYTES, 30 * PAGE_BYTES) == page(31)
        await it.ask("page", number=4)
        assert (await counted(pager)).faults == 0


async def test_filling_brings_all_and_keeps_what_was_written(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 201), *[0] * 50, *range(1, 11))) as pager,
        paged_process(pager, 260, ram_fd=ram_fd) as it,
    ):
        await it.ask("register")
        # Written by somebody whose mapping is not registered: a copy of several pages does a part and goes on behind.
        mine = b"mine" * 1024
        os.pwrite(ram_fd, mine, 5 * PAGE_BYTES)
        await pager.fill()
        await pager.wait_resident()
        statistics = await counted(pager)
        assert (statistics.left, statistics.faults) == (0, 0)
        assert statistics.prefetched == 209
        assert statistics.retries >= 1
        assert statistics.resident_ns is not None
        assert os.pread(ram_fd, PAGE_BYTES, 5 * PAGE_BYTES) == mine
        assert os.pread(ram_fd, PAGE_BYTES, 6 * PAGE_BYTES) == page(7)
        # Holes stay holes.
        assert os.fstat(ram_fd).st_blocks * 512 == 210 * PAGE_BYTES


async def test_a_damaged_store_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(b"something else")
    with pytest.raises(HostError, match="it is not a file of pages"):
        async with open_pager(StoreSource(path=path, digests=bytes(16))):
            pass
    with pytest.raises(HostError, match="No such file"):
        async with open_pager(StoreSource(path=tmp_path / "none", digests=bytes(16))):
            pass


@given(st.binary(max_size=600), st.integers(1, 64))
def test_the_digest_is_that_of_hashlib(data: bytes, size: int) -> None:
    digest = ffi.new(f"uint8_t[{size}]")
    lib.ktp_blake2b(digest, size, ffi.from_buffer(data), len(data))
    assert ffi.buffer(digest)[:] == hashlib.blake2b(data, digest_size=size).digest()
