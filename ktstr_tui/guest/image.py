"""A kernel image: which kernel it is, its type information, and whether it can run sched_ext schedulers.

A bzImage holds the compressed vmlinux as its *payload*; the boot protocol header says where it starts and how
long it is. Inside is an ELF file, and in it the ``.BTF`` section: all types of that kernel. Whether sched_ext
is there is asked of those types (``struct sched_ext_ops``, and ``scx`` in ``struct task_struct``), not of a
version number. Decompressing takes 0.3 s, so the findings are kept in the cache directory under path, size
and modification time.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import zstandard
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ktstr_tui.guest.btf_scan import has_struct_member
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.wire.user_file import open_user_file, read_user_file
from ktstr_tui.wire.whole_file import write_whole

MAX_VMLINUX_BYTES = 1 << 30
_CACHE_FORMAT = 3
_SETUP_HEADER = 0x1F1
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_VERSION_POINTER_AT = 0x20E
_PAYLOAD_AT = 0x248
_SECTOR_BYTES = 512
_OWN_KERNEL_HINT = (
    "give a bzImage, a vmlinux or a kernel build tree, or leave --kernel out and run ktstr-tui kernel fetch"
)
_BANNER = re.compile(rb"Linux version (\d\S{2,80}) \((?:[^\n\0]{0,400}\) (#\d* [^\n\0]{0,120}))?")
_PVH_NOTE_TYPE = 18
"""XEN_ELFNOTE_PHYS32_ENTRY: the entry by which QEMU starts an uncompressed kernel."""


class KernelImage(msgspec.Struct, frozen=True):
    """A kernel that can be booted."""

    path_to_boot: Path
    """What QEMU's ``-kernel`` takes."""
    release: str
    """As ``uname -r`` would say in it."""
    btf: bytes | None
    """The raw ``.BTF`` section; None when the kernel has none."""
    has_sched_ext: bool
    vmlinux: Path | None
    """The uncompressed kernel with symbols, when the user has one of the same release."""
    version: str = ""
    """As ``uname -v`` would say in it, such as ``#1 SMP PREEMPT_DYNAMIC …``; empty when the image does not show it."""


class _Findings(msgspec.Struct, frozen=True):
    release: str
    has_btf: bool
    has_sched_ext: bool
    has_pvh: bool
    version: str = ""


def open_image(path: Path) -> KernelImage:
    """Read a bzImage, a vmlinux, or a build tree that holds both.

    Raises:
        UsageError: There is no such file, it is no x86 kernel, or it cannot be booted.
        HostError: A program for its compression is missing.
    """
    path = path.expanduser().absolute()
    if path.is_dir():
        return _open_tree(path)
    findings, btf = _examine(path)
    if _is_elf(path):
        if not findings.has_pvh:
            raise UsageError(
                f"{path} is an uncompressed kernel without a PVH entry, which QEMU cannot boot",
                "give the bzImage beside it, or build with CONFIG_PVH=y",
            )
        return KernelImage(path, findings.release, btf, findings.has_sched_ext, path, findings.version)
    return KernelImage(path, findings.release, btf, findings.has_sched_ext, None, findings.version)


def read_vmlinux(path: Path) -> bytes:
    """Read the uncompressed kernel out of a bzImage or a vmlinux.

    Raises:
        UsageError: The file is no kernel, or is damaged.
        HostError: A program for its compression is missing.
    """
    data = read_user_file(path, "kernel", _OWN_KERNEL_HINT, max_bytes=MAX_VMLINUX_BYTES)
    if data.startswith(b"\x7fELF"):
        return data
    _header_release(path, data)
    return _payload(path, data)


def require_sched_ext(image: KernelImage) -> KernelImage:
    """Return the image when it can run sched_ext schedulers.

    Raises:
        UsageError: It has no BTF or no sched_ext.
    """
    hint = "run ktstr-tui kernel fetch, or build with CONFIG_SCHED_CLASS_EXT=y and CONFIG_DEBUG_INFO_BTF=y"
    if image.btf is None:
        raise UsageError(
            f"the kernel {image.release} ({image.path_to_boot}) carries no type information (BTF)", hint
        )
    if not image.has_sched_ext:
        raise UsageError(f"the kernel {image.release} ({image.path_to_boot}) has no sched_ext", hint)
    return image


def _open_tree(tree: Path) -> KernelImage:
    image = tree / "arch/x86/boot/bzImage"
    vmlinux = tree / "vmlinux"
    if not image.is_file():
        if vmlinux.is_file():
            return open_image(vmlinux)
        raise UsageError(
            f"{tree} is not a built kernel tree: it has no arch/x86/boot/bzImage", "run make bzImage in it"
        )
    opened = open_image(image)
    if not vmlinux.is_file() or _examine(vmlinux)[0].release != opened.release:
        return opened
    return msgspec.structs.replace(opened, vmlinux=vmlinux)


def _examine(path: Path) -> tuple[_Findings, bytes | None]:
    """Findings and BTF of a file, from the cache when it is unchanged."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read the kernel {path}: {reason}", _OWN_KERNEL_HINT) from error
    identity = f"{_CACHE_FORMAT}\0{path.resolve()}\0{status.st_mtime_ns}\0{status.st_size}"
    stem = cache_dir() / "images" / hashlib.sha256(identity.encode()).hexdigest()[:32]
    cached = _load(stem)
    if cached is not None:
        return cached
    data = read_user_file(path, "kernel", _OWN_KERNEL_HINT, max_bytes=MAX_VMLINUX_BYTES)
    findings, btf = _inspect(path, data)
    _store(stem, findings, btf)
    return findings, btf


def _inspect(path: Path, data: bytes) -> tuple[_Findings, bytes | None]:
    release = ""
    if not data.startswith(b"\x7fELF"):
        release = _header_release(path, data)
        data = _payload(path, data)
    try:
        elf = ELFFile(io.BytesIO(data))
        if elf.get_machine_arch() != "x64":
            raise UsageError(
                f"{path} is a kernel for {elf.get_machine_arch()}, not for x86_64", _OWN_KERNEL_HINT
            )
        section = elf.get_section_by_name(".BTF")
        btf = None if section is None else section.data()
        has_pvh = _has_pvh_note(elf)
    except (ELFError, struct.error) as error:
        raise UsageError(f"{path} holds a damaged ELF file: {error}", _OWN_KERNEL_HINT) from error
    banner = _BANNER.search(data)
    if banner is None:
        raise UsageError(f"{path} is an ELF file but not a Linux kernel", _OWN_KERNEL_HINT)
    has_sched_ext = btf is not None and (
        has_struct_member(btf, "sched_ext_ops", None) and has_struct_member(btf, "task_struct", "scx")
    )
    return _Findings(
        release or banner[1].decode("ascii", "replace"),
        btf is not None,
        has_sched_ext,
        has_pvh,
        (banner[2] or b"").decode("ascii", "replace"),
    ), btf


def _header_release(path: Path, data: bytes) -> str:
    """The release that the bzImage's real-mode header points to."""
    if len(data) < 0x260 or data[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        raise UsageError(f"{path} is not a Linux kernel image", _OWN_KERNEL_HINT)
    (pointer,) = struct.unpack_from("<H", data, _VERSION_POINTER_AT)
    text = data[pointer + _SECTOR_BYTES : pointer + _SECTOR_BYTES + 200].partition(b"\0")[0]
    return text.partition(b" ")[0].decode("ascii", "replace") if pointer else ""


def _payload(path: Path, data: bytes) -> bytes:
    """Decompress the vmlinux inside a bzImage."""
    setup_sectors = data[_SETUP_HEADER] or 4
    offset, length = struct.unpack_from("<II", data, _PAYLOAD_AT)
    start = (setup_sectors + 1) * _SECTOR_BYTES + offset
    payload = data[start : start + length]
    if len(payload) != length or not length:
        raise UsageError(
            f"{path} is truncated: its compressed kernel is incomplete", "copy or build it again"
        )
    for magic, name, decompress in _FORMATS:
        if payload.startswith(magic):
            try:
                return decompress(payload)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
                raise UsageError(
                    f"{path}: its {name} payload is damaged: {error}", "copy or build it again"
                ) from error
    raise UsageError(
        f"{path} is compressed in an unknown way ({payload[:6].hex()})", "give the vmlinux beside it"
    )


def _gzip(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data, MAX_VMLINUX_BYTES)


def _lzma(data: bytes) -> bytes:
    return lzma.LZMADecompressor().decompress(data, MAX_VMLINUX_BYTES)


def _bzip2(data: bytes) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, MAX_VMLINUX_BYTES)


def _zstd(data: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        return reader.read(MAX_VMLINUX_BYTES)


def _lz4(data: bytes) -> bytes:
    program = shutil.which("lz4")
    if program is None:
        raise HostError(
            "this kernel is compressed with LZ4 and the program lz4 is not installed", "apt install lz4"
        )
    # The last four bytes are the uncompressed size, appended by the kernel's build.
    result = subprocess.run([program, "-dc"], input=data[:-4], capture_output=True, check=False)
    if not result.stdout:
        raise ValueError(result.stderr.decode("utf-8", "replace").strip()[:200])
    return result.stdout


_FORMATS: tuple[tuple[bytes, str, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"\xfd7zXZ\0", "xz", _lzma),
    (b"\x5d\0\0", "lzma", _lzma),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
    (b"BZh", "bzip2", _bzip2),
    (b"\x02\x21\x4c\x18", "lz4", _lz4),
)


def _has_pvh_note(elf: ELFFile) -> bool:
    for segment in elf.iter_segments("PT_NOTE"):
        notes = segment.data()
        position = 0
        while position + 12 <= len(notes):
            name_size, data_size, kind = struct.unpack_from("<III", notes, position)
            name = notes[position + 12 : position + 12 + name_size]
            if kind == _PVH_NOTE_TYPE and name == b"Xen\0":
                return True
            position += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return False


def _is_elf(path: Path) -> bool:
    with open_user_file(path, "kernel", _OWN_KERNEL_HINT) as file:
        return file.read(4) == b"\x7fELF"


def _load(stem: Path) -> tuple[_Findings, bytes | None] | None:
    try:
        findings = msgspec.json.decode(stem.with_suffix(".json").read_bytes(), type=_Findings)
        return findings, gzip.decompress(
            stem.with_suffix(".btf.gz").read_bytes()
        ) if findings.has_btf else None
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError):
        return None


def _store(stem: Path, findings: _Findings, btf: bytes | None) -> None:
    """Keep the findings; a cache that cannot be written costs time, not the run."""
    try:
        if btf is not None:
            write_whole(stem.with_suffix(".btf.gz"), gzip.compress(btf, 1), lasting=False)
        write_whole(stem.with_suffix(".json"), msgspec.json.encode(findings), lasting=False)
    except OSError:
        return
