"""Kernel images, made small: real boot headers and ELF files around a BTF of three types."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from ktstr_tui.guest.btf_scan import has_struct_member
from ktstr_tui.guest.image import open_image, require_sched_ext
from ktstr_tui.model.errors import HostError, UsageError

RELEASE = "9.9.9-test"
Compress = Callable[[bytes], bytes]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_btf(structs: dict[str, list[str]]) -> bytes:
    """BTF with an int and the given structs of int members."""
    strings = bytearray(b"\0")

    def name(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    types = struct.pack("<IIII", name("int"), 1 << 24, 4, 32)
    for struct_name, members in structs.items():
        types += struct.pack("<III", name(struct_name), 4 << 24 | len(members), 4 * len(members))
        for number, member in enumerate(members):
            types += struct.pack("<III", name(member), 1, 32 * number)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + bytes(strings)


WITH_SCX = {"task_struct": ["pid", "scx"], "sched_ext_ops": ["enqueue"]}
WITHOUT_SCX = {"task_struct": ["pid"], "scx": ["sched_ext_ops"]}


def make_vmlinux(directory: Path, btf: bytes | None, pvh: bool = False, release: str = RELEASE) -> Path:
    """An ELF file made by the assembler, with the banner, the BTF and the note that are looked for."""
    banner = f"Linux version {release} (me@here) (gcc 14) # SMP PREEMPT_DYNAMIC 1"
    lines = ['.section .rodata,"a"', f'.string "{banner}"']
    if btf is not None:
        (directory / "btf").write_bytes(btf)
        lines += ['.section .BTF,"a"', f'.incbin "{directory / "btf"}"']
    if pvh:
        lines += ['.section .note.Xen,"a",@note', ".long 4, 8, 18", '.string "Xen"', ".quad 0x1000000"]
    (directory / "v.s").write_text(
        "\n".join([*lines, '.section .text,"ax"', ".globl _start", "_start: ret", ""])
    )
    output = directory / "vmlinux"
    command = [
        "gcc",
        "-nostdlib",
        "-static",
        "-Wl,--build-id=none",
        "-o",
        str(output),
        str(directory / "v.s"),
    ]
    subprocess.run(command, check=True)
    return output


def make_bzimage(payload: bytes, release: str = RELEASE) -> bytes:
    setup_sectors = 4
    setup = bytearray((setup_sectors + 1) * 512)
    setup[0x1F1] = setup_sectors
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x20E, 0x800 - 0x200)
    text = f"{release} (me@here) (gcc 14) # SMP PREEMPT_DYNAMIC 1".encode() + b"\0"
    setup[0x800 : 0x800 + len(text)] = text
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    return bytes(setup) + bytes(64) + payload + b"trailer"


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        bz2.compress,
        lambda data: lzma.compress(data, lzma.FORMAT_XZ),
        lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
        zstandard.ZstdCompressor().compress,
    ],
    ids=["gzip", "bzip2", "xz", "lzma", "zstd"],
)
def test_every_compression(tmp_path: Path, compress: Compress) -> None:
    btf = make_btf(WITH_SCX)
    path = tmp_path / "bzImage"
    path.write_bytes(make_bzimage(compress(make_vmlinux(tmp_path, btf).read_bytes())))
    for _ in range(2):  # the second time from the cache
        image = require_sched_ext(open_image(path))
        assert (image.path_to_boot, image.release, image.btf, image.vmlinux) == (path, RELEASE, btf, None)
        assert image.version == "# SMP PREEMPT_DYNAMIC 1"
    assert any((tmp_path / "cache/ktstr-tui/images").iterdir())


def test_lz4_needs_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vmlinux = make_vmlinux(tmp_path, make_btf(WITH_SCX))
    path = tmp_path / "bzImage"
    path.write_bytes(make_bzimage(b"\x02\x21\x4c\x18 compressed \0\0\0\0"))
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(HostError, match="lz4") as caught:
        open_image(path)
    assert caught.value.hint == "apt install lz4"
    (programs / "lz4").write_text(f"#!/bin/sh\nexec /bin/cat {vmlinux}\n")
    (programs / "lz4").chmod(0o755)
    assert open_image(path).has_sched_ext


def test_a_changed_file_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "bzImage"
    path.write_bytes(make_bzimage(gzip.compress(make_vmlinux(tmp_path, make_btf(WITH_SCX)).read_bytes())))
    assert open_image(path).has_sched_ext
    path.write_bytes(make_bzimage(gzip.compress(make_vmlinux(tmp_path, make_btf(WITHOUT_SCX)).read_bytes())))
    os.utime(path, ns=(1, 1))
    assert not open_image(path).has_sched_ext


@pytest.mark.parametrize(("btf", "complaint"), [(make_btf(WITHOUT_SCX), "no sched_ext"), (None, "BTF")])
def test_a_kernel_that_cannot_do_it_is_refused(tmp_path: Path, btf: bytes | None, complaint: str) -> None:
    image = open_image(make_vmlinux(tmp_path, btf, pvh=True))
    with pytest.raises(UsageError, match=complaint) as caught:
        require_sched_ext(image)
    assert "CONFIG_SCHED_CLASS_EXT" in caught.value.hint


def test_a_vmlinux_boots_only_with_a_pvh_note(tmp_path: Path) -> None:
    path = make_vmlinux(tmp_path, make_btf(WITH_SCX), pvh=True)
    image = open_image(path)
    assert (image.path_to_boot, image.vmlinux, image.release) == (path, path, RELEASE)
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="PVH"):
        open_image(make_vmlinux(tmp_path / "other", make_btf(WITH_SCX)))


def test_a_build_tree_gives_both(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "arch/x86/boot").mkdir(parents=True)
    vmlinux = make_vmlinux(tree, make_btf(WITH_SCX))
    bzimage = tree / "arch/x86/boot/bzImage"
    bzimage.write_bytes(make_bzimage(gzip.compress(vmlinux.read_bytes())))
    image = open_image(tree)
    assert (image.path_to_boot, image.vmlinux) == (bzimage, vmlinux)
    # A vmlinux of another build would give wrong symbols.
    make_vmlinux(tree, make_btf(WITH_SCX), release="9.9.8-stale")
    assert open_image(tree).vmlinux is None
    with pytest.raises(UsageError, match="not a built kernel tree"):
        open_image(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a Linux kernel"),
        (b"#!/bin/sh\n" * 400, "not a Linux kernel"),
        (b"\x7fELF" + bytes(100), "damaged ELF"),
        (make_bzimage(b"????" * 10), "unknown way"),
        (make_bzimage(gzip.compress(b"x" * 5000))[:2640], "truncated"),
        (make_bzimage(b"\xfd7zXZ\0" + bytes(100)), "damaged"),
    ],
    ids=["empty", "script", "elf", "unknown", "cut", "damaged"],
)
def test_what_is_no_kernel_says_so(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "thing"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=complaint):
        open_image(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        open_image(tmp_path / "none")


def test_the_scan_looks_at_structs_and_their_own_members() -> None:
    btf = make_btf({**WITH_SCX, "other": ["lonely"]})
    assert has_struct_member(btf, "other", None)
    assert has_struct_member(btf, "other", "lonely")
    assert not has_struct_member(btf, "task_struct", "lonely")
    assert not has_struct_member(btf, "int", None)
    assert not has_struct_member(btf[:40], "other", None)
    assert not has_struct_member(b"", "other", None)
