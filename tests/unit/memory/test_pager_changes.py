"""What others do to the pager, to its source and to memory that it pages."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import zstandard

from ktstr_tui.memory.pager_messages import (
    BadPage,
    PagerEnded,
    RegionLost,
    Reinstalled,
    TargetGone,
)
from ktstr_tui.memory.pager_source import (
    RawSource,
)
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.model.errors import HostError, UsageError
from tests.unit.memory.made_up import page
from tests.unit.memory.paged import Paged, counted, paged_process, wait_until
from tests.unit.memory.paging import ZEROS, event_of, hashed, pager_of, raw, stored


async def wait_waiting(it: Paged) -> None:
    def waits() -> bool:
        tasks = Path(f"/proc/{it.pid}/task")
        return any("handle_userfault" in (task / "wchan").read_text() for task in tasks.iterdir())

    await wait_until(waits, "a thread waits for its page")


@pytest.mark.parametrize("shared", [True, False])
async def test_memory_that_was_given_back_is_zeros(shared: bool, tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 9))) as pager,
        paged_process(pager, 8, ram_fd=ram_fd if shared else -1) as it,
    ):
        await it.ask("register")
        assert await it.ask("page", number=1) == hashed(page(2))
        await it.ask("remove", first=1, count=3)
        assert [await it.ask("page", number=n) for n in range(5)] == [
            hashed(content) for content in (page(1), ZEROS, ZEROS, ZEROS, page(5))
        ]
        assert (await counted(pager)).removed == 3


async def test_copies_go_on_while_memory_is_given_back(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 401))) as pager,
        paged_process(pager, 400, ram_fd=ram_fd) as it,
    ):
        await it.ask("register")
        await it.ask("start_touch", count=300)
        for first in range(300, 400):
            await it.ask("remove", first=first, count=1)
        await wait_until(lambda: pager.statistics().faults == 300, "all that was touched is there")
        assert os.pread(ram_fd, PAGE_BYTES, 299 * PAGE_BYTES) == page(300)
        assert (await counted(pager)).removed == 100


@pytest.mark.parametrize("shared", [True, False])
async def test_a_region_that_was_replaced_is_registered_again(
    shared: bool, tmp_path: Path, ram_fd: int
) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 33))) as pager,
        paged_process(pager, 32, ram_fd=ram_fd if shared else -1) as it,
    ):
        await it.ask("register")
        await it.ask("touch", threads=1, count=4)
        checks = pager.statistics().drift_checks
        await wait_until(lambda: pager.statistics().drift_checks > checks + 1, "the pager looks")
        assert (await counted(pager)).reinstalls == 0
        await it.ask("replace", first=16, count=8)
        assert isinstance(await event_of(pager, Reinstalled), Reinstalled)
        assert (await counted(pager)).reinstalls == 1
        assert await it.ask("page", number=20) == hashed(page(21))


async def test_a_region_that_was_moved_is_served_where_it_is(tmp_path: Path) -> None:
    async with pager_of(stored(tmp_path, *range(1, 9))) as pager, paged_process(pager, 8) as it:
        await it.ask("register")
        assert await it.ask("page", number=1) == hashed(page(2))
        await it.ask("move")
        assert await it.ask("page", number=6) == hashed(page(7))
        assert (await counted(pager)).forwarded == 0


async def test_a_region_that_was_unmapped_is_told_lost(tmp_path: Path) -> None:
    async with pager_of(stored(tmp_path, *range(1, 9))) as pager, paged_process(pager, 8) as it:
        await it.ask("register")
        await it.ask("unmap", first=0, count=8)
        lost = await event_of(pager, RegionLost)
        assert isinstance(lost, RegionLost)
        assert lost.why
        assert (await counted(pager)).gone_regions == 1


async def test_faults_outside_all_regions_are_left_to_the_kernel(tmp_path: Path) -> None:
    async with pager_of(stored(tmp_path, *range(1, 9))) as pager, paged_process(pager, 8) as it:
        await it.ask("register", size=4 * PAGE_BYTES)
        assert await it.ask("page", number=5) == hashed(ZEROS)
        assert await it.ask("page", number=3) == hashed(page(4))
        statistics = await counted(pager)
        assert (statistics.forwarded, statistics.faults) == (1, 1)


@pytest.mark.parametrize("checksum", [True, False])
async def test_no_flipped_bit_is_loaded(
    tmp_path: Path, ram_fd: int, monkeypatch: pytest.MonkeyPatch, *, checksum: bool
) -> None:
    """Of a page with zstd's checksum, which stands for the digest, and of one without, as there were before."""
    packer = zstandard.ZstdCompressor(level=1, write_checksum=checksum)
    monkeypatch.setattr(zstandard, "ZstdCompressor", lambda **_: packer)
    # One record, and a page of the image for each bit that is flipped in it.
    source = stored(tmp_path, *[2] * 128)
    whole = source.path.read_bytes()
    start, refused = whole.find(source.digests[:16]) + 24, 0
    length = int.from_bytes(whole[start - 8 : start - 6], "little")
    assert bool(whole[start + 4] & 4) is checksum
    file = os.open(source.path, os.O_RDWR)
    try:
        async with pager_of(source) as pager, paged_process(pager, 128, ram_fd=ram_fd) as it:
            await it.ask("register")
            for number, at in enumerate(range(start, start + length)):
                os.pwrite(file, bytes([whole[at] ^ 1 << at % 8]), at)
                try:
                    pager.load(number, 1)
                except UsageError:
                    refused += 1
                else:  # a bit that says nothing
                    assert os.pread(ram_fd, PAGE_BYTES, number * PAGE_BYTES) == page(2)
                os.pwrite(file, whole[at : at + 1], at)
            assert refused > 50
            pager.load(127, 1)
            assert os.pread(ram_fd, PAGE_BYTES, 127 * PAGE_BYTES) == page(2)
    finally:
        os.close(file)


async def test_a_flipped_bit_is_told_and_never_served(tmp_path: Path, ram_fd: int) -> None:
    source = stored(tmp_path, 1, 2, 3)
    data = bytearray(source.path.read_bytes())
    at = data.find(source.digests[16:32]) + 24 + 20
    data[at] ^= 4
    source.path.write_bytes(data)
    async with pager_of(source) as pager, paged_process(pager, 3, ram_fd=ram_fd) as it:
        await it.ask("register")
        assert await it.ask("page", number=2) == hashed(page(3))
        await it.ask("start_touch", count=2)
        bad = await event_of(pager, BadPage)
        assert bad == BadPage(1, "it is not what was stored")
        statistics = await counted(pager)
        assert (statistics.source_errors, statistics.parked, statistics.faults) == (1, 1, 2)
        assert os.pread(ram_fd, PAGE_BYTES, PAGE_BYTES) == ZEROS
        # What is left is loaded all the same, and what cannot be had keeps it from being all.
        await pager.fill()
        await wait_until(lambda: pager.statistics().left == 1, "the rest is there")


async def test_a_file_that_is_too_short_is_told(tmp_path: Path) -> None:
    source = raw(tmp_path, page(1) * 2)
    source = RawSource(path=source.path, pages=3)
    async with pager_of(source) as pager, paged_process(pager, 3) as it:
        await it.ask("register")
        await it.ask("start_touch", count=3)
        assert await event_of(pager, BadPage) == BadPage(2, "the file is shorter than the image")


async def test_killing_the_pager_is_told_and_no_page_becomes_zeros(tmp_path: Path, ram_fd: int) -> None:
    async with (
        pager_of(stored(tmp_path, *range(1, 9))) as pager,
        paged_process(pager, 8, ram_fd=ram_fd) as it,
    ):
        await it.ask("register")
        await it.ask("page", number=0)
        os.kill(pager.pid, signal.SIGKILL)
        event = await event_of(pager, PagerEnded)
        assert event == PagerEnded("the pager ended with signal 9")
        assert pager.ended == event
        await pager.wait_resident()
        with pytest.raises(HostError, match="ended with signal 9"):
            await pager.fill()
        await it.ask("start_touch", count=8)
        await wait_waiting(it)
        assert os.pread(ram_fd, PAGE_BYTES, PAGE_BYTES) == ZEROS
        assert os.fstat(ram_fd).st_blocks * 512 == PAGE_BYTES


async def test_a_paged_process_that_ends_is_told(tmp_path: Path) -> None:
    async with pager_of(stored(tmp_path, 1, 2)) as pager:
        async with paged_process(pager, 2) as it:
            await it.ask("register")
        assert await event_of(pager, TargetGone) == TargetGone(it.pid)
