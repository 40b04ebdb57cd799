"""Guest RAM, writable: a mapping of its own, made only for a run that allows writes.

What looks at the guest goes through a mapping that cannot be written through, so no defect in a reader can
change the guest. This one has two ways in and no way to read: each returns what it replaced.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.memory import OutOfRange
from ktstr_tui.kernel.write import Run


class _Segment(NamedTuple):
    guest_phys: int
    length: int
    view: mmap.mmap


class WritableRam:
    """Guest RAM over mapped files.

    Args:
        parts: ``(fd, file_offset, guest_phys, length)`` of each run of RAM.
        ensure: Called with an address and a length before they are written to, in the writer's thread: memory that is
            still being loaded has to be there first.
    """

    def __init__(
        self, parts: Iterable[tuple[int, int, int, int]], ensure: Callable[[int, int], object] | None = None
    ) -> None:
        self._ensure = ensure
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        self._segments = [
            _Segment(phys, length, mmap.mmap(fd, length, mmap.MAP_SHARED, protection, offset=offset))
            for fd, offset, phys, length in parts
        ]

    def swap(self, runs: Iterable[Run], data: bytes) -> bytes:
        """Write ``data`` over runs of the same length in all; what was there before.

        Four or eight aligned bytes are replaced by one atomic instruction; anything else is copied, and a
        running guest may see half of it.

        Raises:
            OutOfRange: Part of it is outside RAM; runs before that part are written.
        """
        before, at = [], 0
        for run in runs:
            before.append(self._swap(run, data[at : at + run.length]))
            at += run.length
        return b"".join(before)

    def set_bits(self, run: Run, bits: int) -> bytes:
        """Set bits in four aligned bytes by one atomic instruction; the bytes before.

        Raises:
            OutOfRange: They are outside RAM.
        """
        view, at = self._find(run)
        before: int = lib.ktm_or32(ffi.from_buffer(view) + at, bits)
        return before.to_bytes(4, "little")

    def close(self) -> None:
        """Unmap."""
        for segment in self._segments:
            segment.view.close()

    def _swap(self, run: Run, data: bytes) -> bytes:
        view, at = self._find(run)
        if run.length in (4, 8) and at % run.length == 0:
            swap = lib.ktm_swap32 if run.length == 4 else lib.ktm_swap64
            before: int = swap(ffi.from_buffer(view) + at, int.from_bytes(data, "little"))
            return before.to_bytes(run.length, "little")
        old = view[at : at + run.length]
        view[at : at + run.length] = data
        return old

    def _find(self, run: Run) -> tuple[mmap.mmap, int]:
        if self._ensure is not None:
            self._ensure(run.physical, run.length)
        for segment in self._segments:
            at = run.physical - segment.guest_phys
            if at >= 0 and at + run.length <= segment.length:
                return segment.view, at
        raise OutOfRange(f"guest-physical {run.physical:#x} is outside RAM", run.physical)
