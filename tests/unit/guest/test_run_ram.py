"""Opening the RAM of a guest that another process holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ktstr_tui.guest import ram
from ktstr_tui.guest.run_ram import open_ram_of
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.model.errors import HostError, UsageError

MIB = 1 << 20


def test_the_ram_of_a_process_is_found_node_by_node_and_seen_as_it_changes() -> None:
    with ram.open_ram((256 * MIB, 128 * MIB)) as (first, second):
        os.pwrite(first, b"low", 0)
        os.pwrite(second, b"high", 0)
        with open_ram_of(os.getpid()) as parts:
            assert [(phys, length) for _, _, phys, length in parts] == [
                (0, 256 * MIB),
                (256 * MIB, 128 * MIB),
            ]
            assert {fd for fd, _, _, _ in parts}.isdisjoint((first, second))
            memory = GuestRam.from_fds(parts)
        assert (memory.read(0, 3), memory.read(256 * MIB, 4)) == (b"low", b"high")
        os.pwrite(first, b"new", 0)
        assert memory.read(0, 3) == b"new"
        memory.close()


def test_ram_above_the_pci_hole_continues_at_four_gib() -> None:
    with ram.open_ram((4096 * MIB,)), open_ram_of(os.getpid()) as parts:
        assert [(offset, phys, length) for _, offset, phys, length in parts] == [
            (0, 0, 2048 * MIB),
            (2048 * MIB, 4096 * MIB, 2048 * MIB),
        ]


def test_the_ram_is_opened_for_reading_only() -> None:
    with (
        ram.open_ram((128 * MIB,)),
        open_ram_of(os.getpid()) as parts,
        pytest.raises(OSError, match="Bad file"),
    ):
        os.write(parts[0][0], b"x")


def test_descriptors_are_closed_afterwards() -> None:
    with ram.open_ram((128 * MIB,)), open_ram_of(os.getpid()) as parts:
        opened = parts[0][0]
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(opened)


def test_a_process_without_a_guest_is_refused() -> None:
    with pytest.raises(UsageError, match="holds no memory of a guest"), open_ram_of(os.getpid()):
        pass


def test_two_guests_of_one_process_are_not_mixed_up() -> None:
    with ram.open_ram((128 * MIB,)) as (first,), open_ram_of(os.getpid()) as parts:
        assert os.fstat(parts[0][0]).st_ino == os.fstat(first).st_ino
        again = os.dup(first)
        with open_ram_of(os.getpid()):
            pass  # one file that is open several times is one guest
        os.close(again)
        with (
            ram.open_ram((128 * MIB,)),
            pytest.raises(UsageError, match="several guests"),
            open_ram_of(os.getpid()),
        ):
            pass


def test_a_process_that_has_ended_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="process 7 has ended"), open_ram_of(7, tmp_path):
        pass


def test_the_process_of_another_user_is_refused_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "readlink", refuse)
    with (
        pytest.raises(HostError, match="does not let this user") as caught,
        open_ram_of(os.getpid()),
    ):
        pass
    assert "as the user who started the run" in caught.value.hint


def test_a_node_that_is_missing_is_not_taken_for_the_whole() -> None:
    with ram.open_ram((128 * MIB, 128 * MIB)) as (first, _):
        os.close(first)
        try:
            with pytest.raises(UsageError, match="holds no memory"), open_ram_of(os.getpid()):
                pass
        finally:
            os.dup2(os.memfd_create("stand-in"), first)
