"""Finding the kernel's note in memory, and not its look-alikes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP, Vmcoreinfo, find_vmcoreinfo

PAGE = 4096
SIZE = 256 * PAGE
RELEASE = b"6.99.0-test"


def note(uts_page: int, release: bytes = RELEASE, extra: bytes = b"") -> bytes:
    uts = START_KERNEL_MAP + uts_page * PAGE
    return (
        b"OSRELEASE=" + release + b"\nBUILD-ID=00\nPAGESIZE=4096\n"
        b"SYMBOL(init_uts_ns)=%x\nOFFSET(uts_namespace.name)=4\nNUMBER(phys_base)=0\n" % uts
    ) + extra


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("test-ram")
    os.ftruncate(fd, SIZE)
    yield fd
    os.close(fd)


def plant_uts(fd: int, page: int, release: bytes = RELEASE) -> None:
    os.pwrite(fd, release, page * PAGE + 4 + 2 * 65)


def found(fd: int) -> bytes | None:
    ram = GuestRam.from_fds([(fd, 0, 0, SIZE)])
    try:
        return find_vmcoreinfo(ram)
    finally:
        ram.close()


def test_nothing_is_found_before_the_kernel_has_written_it(memfd: int) -> None:
    assert found(memfd) is None
    os.pwrite(memfd, b"OSRELEASE=6", 5 * PAGE)
    assert found(memfd) is None


def test_the_note_is_found_and_parsed(memfd: int) -> None:
    os.pwrite(memfd, note(9), 40 * PAGE)
    plant_uts(memfd, 9)
    blocks = os.fstat(memfd).st_blocks
    raw = found(memfd)
    assert raw == note(9)
    assert os.fstat(memfd).st_blocks == blocks
    info = Vmcoreinfo(raw)
    assert info.release == RELEASE.decode()
    assert info.symbol("init_uts_ns") == START_KERNEL_MAP + 9 * PAGE
    assert info.offset("uts_namespace.name") == 4
    assert info.number("phys_base") == 0
    assert info.number("absent", 7) == 7
    with pytest.raises(KeyError):
        info.number("absent")


def test_a_note_must_begin_a_page(memfd: int) -> None:
    os.pwrite(memfd, note(9), 40 * PAGE + 8)
    plant_uts(memfd, 9)
    assert found(memfd) is None


def test_the_note_of_another_kernel_is_told_apart(memfd: int) -> None:
    """Such as one in a file that the guest has in its page cache."""
    os.pwrite(memfd, note(9, b"5.10.0-other", b"NUMBER(padding)=1\n" * 9), 20 * PAGE)
    os.pwrite(memfd, note(9), 40 * PAGE)
    plant_uts(memfd, 9)
    assert found(memfd) == note(9)


def test_of_two_notes_that_fit_the_fuller_one_counts(memfd: int) -> None:
    os.pwrite(memfd, note(9, extra=b"NUMBER(late)=1\n"), 20 * PAGE)
    os.pwrite(memfd, note(9), 40 * PAGE)
    plant_uts(memfd, 9)
    raw = found(memfd)
    assert raw is not None
    assert Vmcoreinfo(raw).number("late") == 1


def test_a_note_that_points_outside_ram_is_ignored(memfd: int) -> None:
    os.pwrite(memfd, note(SIZE // PAGE + 3), 20 * PAGE)
    assert found(memfd) is None


def test_a_negative_phys_base_is_understood() -> None:
    info = Vmcoreinfo(b"NUMBER(phys_base)=-811597824\nSYMBOL(x)=ffffffffb5800000\n")
    assert info.image_physical(info.symbol("x")) == 0xB5800000 - 0x80000000 - 811597824
