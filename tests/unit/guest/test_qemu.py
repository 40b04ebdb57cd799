"""The QEMU command, RAM and its layout, private directories, and starts that fail."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest import qemu, ram, topology_args
from ktstr_tui.guest.machine import open_machine
from ktstr_tui.guest.paths import check_socket_path, private_dir, runtime_dir, state_dir
from ktstr_tui.guest.qemu import MachineSpec
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.topology import Topology

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture(autouse=True)
def no_other_qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a named nor a fetched QEMU of this machine takes part."""
    monkeypatch.delenv("KTSTR_QEMU", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    return MachineSpec(
        kernel=tmp_path / "vmlinuz",
        initrd=b"",
        topology=Topology(),
        memory_bytes=512 * MIB,
        accelerator="tcg",
        socket_dir=tmp_path,
        console_log=tmp_path / "console.log",
        append="loglevel=7",
    )


def fake_qemu(directory: Path, script: str, version: str = "10.0.2") -> None:
    """A QEMU program that prints a version and otherwise does what ``script`` says."""
    program = directory / qemu.PROGRAM
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "QEMU emulator version {version}"; exit; fi\n{script}\n'
    )
    program.chmod(0o755)


def option(command: list[str], name: str) -> list[str]:
    return [command[i + 1] for i, word in enumerate(command) if word == name]


def command(spec: MachineSpec, directory: Path, version: str = "10.0.2") -> list[str]:
    fake_qemu(directory, "exit 1", version)
    files = tuple(f"/fd/{n}" for n in range(spec.topology.nodes))
    channels = {"qmp": 3, "gdb": 4, "bulk": 5, "stats": 6}
    return qemu.command(directory / qemu.PROGRAM, spec, "/fd/9", files, channels)


def test_the_command_of_a_small_machine(spec: MachineSpec, tmp_path: Path) -> None:
    built = command(replace(spec, socket_dir=Path("/a,b")), tmp_path)
    assert option(built, "-m") == ["512M"]
    assert option(built, "-smp") == ["cpus=2,sockets=1,cores=2,threads=1"]
    assert option(built, "-accel") == ["tcg,thread=single"]
    assert option(built, "-qmp") == ["unix:/a,,b/qmp.sock,server=on,wait=off"], "commas are escaped"
    assert option(built, "-append")[0].endswith(" loglevel=7"), "what the user adds comes last"
    assert option(built, "-numa") == []
    assert "-no-reboot" in built


def test_nodes_and_llcs(spec: MachineSpec, tmp_path: Path) -> None:
    built = command(replace(spec, topology=Topology.parse("2n4l2c2t")), tmp_path)
    assert option(built, "-smp") == ["cpus=16,sockets=4,cores=2,threads=2"]
    assert option(built, "-numa") == [
        "node,nodeid=0,cpus=0-7,memdev=ram0",
        "node,nodeid=1,cpus=8-15,memdev=ram1",
    ]


def test_an_old_qemu_emulates_on_one_thread(spec: MachineSpec, tmp_path: Path) -> None:
    assert option(command(spec, tmp_path, "7.2.22 (Debian 1:7.2)"), "-accel") == ["tcg,thread=single"]


def test_amd_hosts_get_topoext() -> None:
    assert "topoext=on" in qemu.cpu_model("kvm", "AuthenticAMD")
    assert "topoext" not in qemu.cpu_model("kvm", "GenuineIntel")
    assert qemu.cpu_model("tcg", "AuthenticAMD").startswith("max,vendor=GenuineIntel")


@given(st.integers(1, 8), st.integers(512, 64 * 1024))
def test_segments_cover_all_ram_once(nodes: int, mebibytes: int) -> None:
    topology = Topology(nodes, nodes, 1, 1)
    sizes = topology_args.node_bytes(topology, mebibytes * MIB)
    assert sum(sizes) == mebibytes * MIB
    found = topology_args.segments(sizes)
    assert sum(segment.length for segment in found) == mebibytes * MIB
    for fd_index, size in enumerate(sizes):
        covered = sorted((s.offset, s.length) for s in found if s.fd_index == fd_index)
        position = 0
        for offset, length in covered:
            assert offset == position
            position += length
        assert position == size
    for before, after in pairwise(found):
        assert before.guest_phys + before.length <= after.guest_phys
    hole = [s for s in found if s.guest_phys < 4 * GIB < s.guest_phys + s.length]
    assert not hole


@pytest.mark.parametrize(
    ("gibibytes", "expected"),
    [
        (2, [(0, 0, 0, 2 * GIB)]),
        (2.5, [(0, 0, 0, int(2.5 * GIB))]),
        (2.75, [(0, 0, 0, 2 * GIB), (4 * GIB, 0, 2 * GIB, int(0.75 * GIB))]),
        (8, [(0, 0, 0, 2 * GIB), (4 * GIB, 0, 2 * GIB, 6 * GIB)]),
    ],
)
def test_the_hole_of_q35(gibibytes: float, expected: list[tuple[int, int, int, int]]) -> None:
    assert [tuple(s) for s in topology_args.segments((int(gibibytes * GIB),))] == expected


@pytest.mark.parametrize("memory_bytes", [64 * MIB, 512 * MIB + 1, 0])
def test_memory_that_cannot_be(memory_bytes: int) -> None:
    with pytest.raises(UsageError):
        topology_args.node_bytes(Topology(), memory_bytes)


def host(
    directory: Path, available: int, limit: str = "max", used: int = 0, inactive: int = 0
) -> tuple[Path, Path]:
    proc, cgroups = directory / "proc", directory / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {available // 1024} kB\n")
    (proc / "self/cgroup").write_text("0::/slice/run\n")
    (cgroups / "slice/run").mkdir(parents=True)
    (cgroups / "slice/memory.max").write_text(f"{limit}\n")
    (cgroups / "slice/memory.current").write_text(f"{used}\n")
    (cgroups / "slice/memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
    return proc, cgroups


def test_a_guest_that_does_not_fit_is_refused_with_numbers(tmp_path: Path) -> None:
    proc, cgroups = host(tmp_path, GIB)
    ram.check_space(512 * MIB, proc, cgroups)
    with pytest.raises(HostError, match=r"2048 MiB needs 2240 MiB.*MemAvailable leaves 1024 MiB") as caught:
        ram.check_space(2 * GIB, proc, cgroups)
    assert "--memory" in caught.value.hint


def test_a_cgroup_above_counts_and_page_cache_does_not(tmp_path: Path) -> None:
    proc, cgroups = host(tmp_path, 64 * GIB, str(GIB), used=900 * MIB, inactive=800 * MIB)
    ram.check_space(512 * MIB, proc, cgroups)
    assert ram.available_bytes(proc, cgroups) == GIB - 100 * MIB
    with pytest.raises(HostError, match="slice leaves 924 MiB"):
        ram.check_space(GIB, proc, cgroups)


def test_a_host_that_says_nothing_refuses_nothing(tmp_path: Path) -> None:
    ram.check_space(GIB, tmp_path, tmp_path)
    assert ram.available_bytes(tmp_path, tmp_path) is None


def test_a_private_directory_is_made_and_kept(tmp_path: Path) -> None:
    made = private_dir(tmp_path / "a/b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert private_dir(made) == made


def test_a_directory_that_is_not_ours_alone_is_refused(tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    wide.mkdir()
    wide.chmod(0o755)
    with pytest.raises(HostError, match="0755"):
        private_dir(wide)
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(HostError, match="link"):
        private_dir(tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="File exists"):
        private_dir(tmp_path / "file")


def test_xdg_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert runtime_dir() == tmp_path / "run/ktstr"
    assert state_dir() == tmp_path / "state/ktstr-tui"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local/state/ktstr-tui"


def test_long_socket_paths_are_refused_with_their_length() -> None:
    assert check_socket_path(Path("/" + "a" * 106)) == Path("/" + "a" * 106)
    with pytest.raises(HostError, match="108 bytes; unix sockets allow 107"):
        check_socket_path(Path("/" + "a" * 107))


@pytest.fixture
def only_fake_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with setpriv and nothing else."""
    programs = tmp_path / "programs"
    programs.mkdir()
    setpriv = next(
        Path(d) / "setpriv" for d in os.environ["PATH"].split(":") if (Path(d) / "setpriv").exists()
    )
    (programs / "setpriv").symlink_to(setpriv)
    monkeypatch.setenv("PATH", str(programs))
    return programs


async def test_no_qemu(spec: MachineSpec, only_fake_programs: Path) -> None:
    with pytest.raises(HostError, match="not installed") as caught:
        async with open_machine(spec):
            pass
    assert "ktstr_tui.guest.qemu_fetch" in caught.value.hint
    assert caught.value.hint.endswith("apt install qemu-system-x86")


async def test_qemu_that_fails_at_once_is_quoted(spec: MachineSpec, only_fake_programs: Path) -> None:
    fake_qemu(only_fake_programs, 'echo "qemu-system-x86_64: -smp: \x1b[31mno such thing" >&2; exit 1')
    with pytest.raises(HostError, match="status 1: -smp: no such thing"):
        async with open_machine(spec):
            pass


async def test_qemu_that_aborts_is_named(spec: MachineSpec, only_fake_programs: Path) -> None:
    fake_qemu(only_fake_programs, 'echo "kvm_buf_set_msrs: Assertion failed" >&2; kill -ABRT $$')
    with pytest.raises(HostError, match="SIGABRT: kvm_buf_set_msrs"):
        async with open_machine(spec):
            pass
    assert not (spec.socket_dir / "qmp.sock").exists()


async def test_a_console_log_that_cannot_be_written(spec: MachineSpec, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="console log"):
        async with open_machine(replace(spec, console_log=tmp_path / "none/log")):
            pass
