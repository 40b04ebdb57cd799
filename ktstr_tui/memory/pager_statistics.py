"""What a pager has done so far, read from the page that it shares; asking costs it nothing."""

from __future__ import annotations

import mmap
from typing import Literal, get_args

import msgspec

from ktstr_tui._native import ffi, lib

PageClass = Literal["zero", "local", "remote", "twice"]
"""What a fault was served with: zeros, a page of this machine, one from elsewhere, or one that was there by then."""
BUCKETS = 32


class PagerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one pager. All grow, except ``left``, ``parked`` and ``tracer``."""

    pages: int
    """Of the image."""
    faults: int
    """Pages that a fault asked for first."""
    twice: int
    """Faults on pages that were there by the time they were read."""
    prewarmed: int
    """Pages loaded before a region was given out."""
    prefetched: int
    """Pages loaded ahead of their first use, from the list or to have all."""
    zeros: int
    """Of the faults, those on pages of zeros."""
    served_bytes: int
    left: int
    """Pages of data that are not loaded."""
    reinstalls: int
    """Regions that were registered again."""
    forwarded: int
    """Faults outside all regions, which became pages of zeros as without a pager."""
    removed: int
    """Pages that a paged process gave back; they are zeros since."""
    retries: int
    """Copies that were tried again because the mapping changed, or that went on after a part."""
    source_errors: int
    """Pages that cannot be had."""
    link_losses: int
    """Connections to the source that broke, or could not be made."""
    parked: int
    """Faults that wait for the source at the moment."""
    drift_checks: int
    gone_regions: int
    tracer: int | None
    """Process that traces a paged one."""
    resident_ns: int | None
    """Host monotonic time at which all pages of data were there."""
    latency: dict[PageClass, tuple[int, ...]]
    """Faults by time from reading one to its page: entry n counts those below 2^n µs; the last one all others."""

    @property
    def loaded(self) -> int:
        """Pages that were loaded, for whatever reason."""
        return self.faults + self.prewarmed + self.prefetched


class SharedPage:
    """The page of one pager, the order of first use behind it, and which pages are there.

    Args:
        fd: The memfd; see `shared_bytes` for its size.
        pages: Of the image.
    """

    def __init__(self, fd: int, pages: int) -> None:
        self._map = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
        self._shared = ffi.cast("struct ktp_shared *", ffi.from_buffer(self._map))
        self._served_at = ffi.sizeof("struct ktp_shared") + 4 * pages

    def statistics(self) -> PagerStatistics:
        """The counters now; each is whole, but they are not of one instant."""
        shared = self._shared
        plain = {
            name: int(getattr(shared, name))
            for name in PagerStatistics.__struct_fields__
            if name not in ("tracer", "resident_ns", "latency")
        }
        return PagerStatistics(
            **plain,
            tracer=int(shared.tracer) or None,
            resident_ns=int(shared.resident_ns) or None,
            latency={
                name: tuple(int(shared.latency[index][bucket]) for bucket in range(BUCKETS))
                for index, name in enumerate(get_args(PageClass))
            },
        )

    def order(self) -> tuple[int, ...]:
        """The pages that faults asked for, in the order of their first use."""
        count = int(self._shared.order_count)
        begin = ffi.sizeof("struct ktp_shared")
        return tuple(int(page) for page in memoryview(self._map[begin : begin + 4 * count]).cast("I"))

    def is_there(self, page: int) -> bool:
        """Whether a page of the image is in the memory of those who are paged, or was given back by them."""
        return bool(self._map[self._served_at + page // 8] >> page % 8 & 1)

    def close(self) -> None:
        """Give the mapping back."""
        del self._shared
        self._map.close()


def shared_bytes(pages: int) -> int:
    """The size of the shared memory for an image of so many pages."""
    return ffi.sizeof("struct ktp_shared") + 4 * pages + pages // 8 + 1


assert int(lib.KTP_BUCKETS) == BUCKETS
