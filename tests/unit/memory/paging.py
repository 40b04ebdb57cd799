"""Pagers of made-up snapshots, and what they say."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ktstr_tui.memory.pager import (
    Pager,
    open_pager,
)
from ktstr_tui.memory.pager_messages import (
    PagerEvent,
)
from ktstr_tui.memory.pager_process import PagerConfig
from ktstr_tui.memory.pager_source import (
    PageSource,
    RawSource,
    StoreSource,
    store_source,
)
from ktstr_tui.memory.pager_statistics import PagerStatistics
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.store import SnapshotStore
from tests.unit.memory.made_up import ram, store_one

INTERVAL_S = 0.05
ZEROS = bytes(PAGE_BYTES)


def hashed(content: bytes) -> str:
    """The digest of a page as paged processes tell it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def stored(tmp_path: Path, *seeds: int) -> StoreSource:
    """A store with a snapshot whose memory is made of these pages; 0 for zeros."""
    store = SnapshotStore(tmp_path)
    return store_source(store_one(store, "made", ram(*seeds)), tmp_path)


def raw(tmp_path: Path, content: bytes) -> RawSource:
    """A file that is the image."""
    path = tmp_path / "raw"
    path.write_bytes(content)
    return RawSource(path=path, pages=len(content) // PAGE_BYTES)


@asynccontextmanager
async def pager_of(source: PageSource, **config: object) -> AsyncIterator[Pager]:
    """A pager that looks for drift often."""
    async with open_pager(source, PagerConfig(interval_s=INTERVAL_S, **config)) as pager:  # type: ignore[arg-type]
        yield pager


async def event_of(pager: Pager, kind: type[PagerEvent]) -> PagerEvent:
    """The next event of a kind."""
    with trio.fail_after(60):
        async for event in pager.events:
            if isinstance(event, kind):
                return event
    raise AssertionError(kind)


def served(statistics: PagerStatistics) -> int:
    """Faults in the histogram."""
    return sum(sum(buckets) for buckets in statistics.latency.values())
