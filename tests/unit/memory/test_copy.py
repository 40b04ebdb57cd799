"""The copy of RAM equals RAM, whatever was written, and holes stay holes."""

from __future__ import annotations

import os
import random

from ktstr_tui.guest.ram import data_ranges
from ktstr_tui.memory.copy import RamCopy
from ktstr_tui.memory.pages import PAGE_BYTES

_PUNCH = 0x03  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE


def punch(descriptor: int, at: int, length: int) -> None:
    """Make a hole."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(descriptor, _PUNCH, ctypes.c_long(at), ctypes.c_long(length)) == 0


def test_only_what_differs_is_copied_and_the_copy_is_equal() -> None:
    descriptor = os.memfd_create("ram")
    os.ftruncate(descriptor, 64 * PAGE_BYTES)
    chance = random.Random(3)
    copy = RamCopy([descriptor])
    assert copy.update() == 0
    for _ in range(50):
        pages = {chance.randrange(64) for _ in range(chance.randrange(8))}
        for page in pages:
            os.pwrite(descriptor, chance.randbytes(100), page * PAGE_BYTES + chance.randrange(3900))
        if chance.random() < 0.3:
            punch(descriptor, chance.randrange(60) * PAGE_BYTES, 3 * PAGE_BYTES)
        assert copy.update() <= len(pages)
        (part,) = copy.parts()
        assert bytes(part) == os.pread(descriptor, 64 * PAGE_BYTES, 0)
        part.release()
    copy.close()
    os.close(descriptor)


def test_holes_of_the_guest_stay_holes() -> None:
    descriptor = os.memfd_create("ram")
    os.ftruncate(descriptor, 1024 * PAGE_BYTES)
    os.pwrite(descriptor, b"x", 500 * PAGE_BYTES)
    copy = RamCopy([descriptor])
    copy.update()
    assert list(data_ranges(descriptor)) == [(500 * PAGE_BYTES, 501 * PAGE_BYTES)]
    copy.close()
    os.close(descriptor)
