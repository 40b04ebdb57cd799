"""Where a pager takes the pages of an image from, and which it loads before anybody asks.

An image is the RAM of a snapshot, one NUMA node behind the other. A page is named by its number in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.memory.store import PAGES

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 32)]


class StoreSource(msgspec.Struct, frozen=True, kw_only=True):
    """Pages of a store on this machine; each is checked before it is installed."""

    path: Path
    """The file of pages."""
    digests: bytes
    """Of all pages of the image, one behind the other."""

    @property
    def pages(self) -> int:
        """How many the image has."""
        return len(self.digests) // DIGEST_BYTES


class RawSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is the image, unchecked unless there are digests."""

    path: Path
    pages: Count
    digests: bytes | None = None


class SocketSource(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who listens on a unix socket (`ktstr_tui.memory.page_server`), which may be forwarded from elsewhere.

    A connection that breaks is made again; faults wait meanwhile.
    """

    path: Path
    pages: Count
    digests: bytes | None = None
    here: Path | None = None
    """A file of pages that came before: what is in it is not asked for. Needs digests."""


PageSource = StoreSource | RawSource | SocketSource


class PrewarmList(msgspec.Struct, frozen=True):
    """Pages that are loaded before a region is used, in that order."""

    pages: tuple[int, ...] = ()

    @classmethod
    def from_boot_critical(cls, kernel_text: int, vcpu0_stack: int, tables: int) -> PrewarmList:
        """Make it of what a machine needs first.

        Args:
            kernel_text: Byte of the image at which vCPU 0 goes on.
            vcpu0_stack: Byte of its stack.
            tables: Byte of what it translates addresses with.
        """
        return cls(tuple(at // PAGE_BYTES for at in (kernel_text, vcpu0_stack, tables)))


def store_source(snapshot: Snapshot, directory: Path) -> StoreSource:
    """The source of a snapshot's RAM.

    Args:
        snapshot: The snapshot.
        directory: Of its store.
    """
    return StoreSource(
        path=directory / PAGES, digests=b"".join(bytes(blob.digests) for blob in snapshot.memory)
    )


def encode_pages(pages: Iterable[int]) -> bytes:
    """A list of pages as the pager reads it."""
    return b"".join(page.to_bytes(8, "little") for page in pages)


def decode_pages(data: bytes) -> tuple[int, ...]:
    """The other way; a torn last entry is left out, for a working set is only a hint."""
    whole = memoryview(data)[: len(data) // 8 * 8]
    return tuple(int(page) for page in whole.cast("Q"))
