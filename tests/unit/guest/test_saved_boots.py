"""Saved boots on disk: whole or not there, found by what decides them, bounded."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest import saved_boots
from ktstr_tui.guest.qemu import MachineSpec
from ktstr_tui.guest.qemu_program import PROGRAM
from ktstr_tui.guest.ram import copy_data, data_ranges
from ktstr_tui.guest.saved_boots import About, SavedBoots, boot_key, host_boot
from ktstr_tui.model.topology import Topology

MIB = 1 << 20
PAGE_BYTES = 4096


def about(data_bytes: int = MIB, host: str | None = None) -> About:
    return About("vmlinuz", 2, 512 * MIB, data_bytes, 4000.0, host_boot() if host is None else host)


def save(boots: SavedBoots, key: str, what: About) -> None:
    written = boots.begin()
    (written / "state").write_bytes(key.encode())
    boots.finish(written, key, what)


def test_a_boot_is_found_once_it_is_whole(tmp_path: Path) -> None:
    boots = SavedBoots(tmp_path / "boots")
    assert boots.find("a") is None
    written = boots.begin()
    assert boots.all() == [], "what is being written is not there yet"
    (written / "state").write_bytes(b"s")
    boots.finish(written, "a", about())
    found = boots.find("a")
    assert found is not None
    assert found.state.read_bytes() == b"s"
    assert (tmp_path / "boots").stat().st_mode & 0o077 == 0, "memory of a guest is for its user alone"


def test_of_two_that_were_saved_at_once_the_first_stays(tmp_path: Path) -> None:
    boots = SavedBoots(tmp_path)
    first, second = boots.begin(), boots.begin()
    (first / "state").write_bytes(b"1")
    (second / "state").write_bytes(b"2")
    boots.finish(first, "a", about())
    boots.finish(second, "a", about())
    found = boots.find("a")
    assert found is not None
    assert found.state.read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    boots = SavedBoots(tmp_path)
    mine = boots.begin()
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = tmp_path / f".new-{gone.pid}-abc"
    left.mkdir()
    boots.begin()
    assert mine.is_dir(), "its writer lives"
    assert not left.exists()


def test_a_boot_of_an_earlier_boot_of_the_host_is_removed(tmp_path: Path) -> None:
    boots = SavedBoots(tmp_path)
    save(boots, "a", about(host="another"))
    assert boots.find("a") is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_boot_is_not_there(tmp_path: Path) -> None:
    boots = SavedBoots(tmp_path)
    save(boots, "a", about())
    (tmp_path / "a/about.json").write_bytes(b'{"kernel": 3')
    assert boots.find("a") is None
    assert boots.all() == []


def test_the_one_not_used_for_the_longest_time_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_boots, "LIMIT_BYTES", 3 * MIB)
    boots = SavedBoots(tmp_path)
    for age, key in enumerate("cba"):
        save(boots, key, about())
        os.utime(tmp_path / key, (1000 + age, 1000 + age))
    assert boots.find("c") is not None  # which makes it the newest
    save(boots, "d", about())
    assert {boot.directory.name for boot in boots.all()} == {"d", "c", "a"}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MachineSpec:
    program = tmp_path / PROGRAM
    program.write_text('#!/bin/sh\necho "QEMU emulator version 10.0.2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("KTSTR_QEMU", str(program))
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(b"kernel")
    return MachineSpec(
        kernel=kernel,
        initrd=b"base",
        topology=Topology(),
        memory_bytes=512 * MIB,
        accelerator="tcg",
        socket_dir=tmp_path,
        console_log=tmp_path / "console.log",
        run_files=b"files",
    )


def test_the_key_follows_from_the_machine_and_not_from_the_run(spec: MachineSpec, tmp_path: Path) -> None:
    key = boot_key(spec)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"kernel")
    same = [
        replace(spec, run_files=b"others"),
        replace(spec, socket_dir=Path("/run/other"), console_log=Path("/other")),
        replace(spec, kernel=elsewhere),
    ]
    assert {boot_key(other) for other in same} == {key}
    others = [
        replace(spec, topology=Topology.parse("1n1l4c1t")),
        replace(spec, memory_bytes=1024 * MIB),
        replace(spec, append="nokaslr"),
        replace(spec, initrd=b"another guest program"),
    ]
    keys = {boot_key(other) for other in others}
    spec.kernel.write_bytes(b"another kernel")
    assert len({key, boot_key(spec), *keys}) == len(others) + 2


@given(st.sets(st.integers(0, 63), max_size=12))
def test_a_copy_has_the_same_bytes_and_the_same_holes(pages: set[int]) -> None:
    source, target = os.memfd_create("source"), os.memfd_create("target")
    try:
        os.ftruncate(source, 64 * PAGE_BYTES)
        for page in pages:
            os.pwrite(source, bytes([page + 1]) * PAGE_BYTES, page * PAGE_BYTES)
        assert copy_data(source, target) == len(pages) * PAGE_BYTES
        assert os.pread(target, 64 * PAGE_BYTES, 0) == os.pread(source, 64 * PAGE_BYTES, 0)
        assert list(data_ranges(target)) == list(data_ranges(source))
    finally:
        os.close(source)
        os.close(target)


def test_what_is_said_of_a_boot_is_read_again(tmp_path: Path) -> None:
    assert msgspec.json.decode(msgspec.json.encode(about()), type=About) == about()
