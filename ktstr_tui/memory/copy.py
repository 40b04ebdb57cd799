"""A copy of a guest's RAM: made beside the running guest, brought up to date while it is stopped.

The pause is the point. To copy 130 MiB of a guest takes tens of milliseconds, most of it the first touch of each page
of the copy. So the copy is made before, while the guest runs, and during the stop only what differs is written
(`native/memory/ktstr_copy.h`). Holes of the RAM files stay holes: they are asked of the file system and never read.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from ktstr_tui._native import ffi, lib
from ktstr_tui.guest.ram import data_ranges
from ktstr_tui.model.errors import HostError

NAME = "ktstr-copy"


class RamCopy:
    """A copy of RAM files, of the same sizes.

    Args:
        sources: Descriptors of the RAM files; they must stay open as long as this object is used.

    Raises:
        HostError: There is no memory for it.
    """

    def __init__(self, sources: Sequence[int]) -> None:
        self._sources = tuple(sources)
        self._from = [mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ) for fd in sources]
        try:
            self._to = [
                mmap.mmap(-1, len(source), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for source in self._from
            ]
        except OSError as error:
            raise HostError(
                f"no memory for a copy of the guest's RAM: {error.strerror}", "give the guest less (--memory)"
            ) from error
        self._had: list[list[tuple[int, int]]] = [[] for _ in sources]

    def update(self) -> int:
        """Copy what differs; returns the pages that did. Blocks, without the interpreter's lock."""
        changed = 0
        for index, (source, to) in enumerate(zip(self._from, self._to, strict=True)):
            ranges = list(data_ranges(self._sources[index]))
            begin, target = ffi.from_buffer(source), ffi.from_buffer(to, require_writable=True)
            for start, stop in ranges:
                changed += lib.ktm_copy_changed(target + start, begin + start, stop - start)
            self._forget(index, ranges)
        return changed

    def parts(self) -> list[memoryview]:
        """The copy, one part for each RAM file."""
        return [memoryview(it) for it in self._to]

    def ranges(self) -> list[list[tuple[int, int]]]:
        """Where there was data at the last update, for each RAM file."""
        return self._had

    def close(self) -> None:
        """Give the memory back; nobody may hold a view of it."""
        for view in (*self._from, *self._to):
            view.close()

    def _forget(self, index: int, ranges: list[tuple[int, int]]) -> None:
        """Make zeros of what was data before and is a hole now."""
        for start, stop in self._had[index]:
            at = start
            for begin, end in [*ranges, (stop, stop)]:
                if at < begin and at < stop:
                    gap = min(begin, stop) - at
                    self._to[index][at : at + gap] = bytes(gap)
                at = max(at, end)
        self._had[index] = ranges
