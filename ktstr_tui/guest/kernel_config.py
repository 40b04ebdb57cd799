"""The kernel's build configuration, for programs in the guest that ask for it.

A BPF program may declare ``extern … CONFIG_HZ __kconfig``. libbpf then reads ``/boot/config-$(uname -r)`` or
``/proc/config.gz`` inside the guest, and refuses to load the program when neither is there, even for a weak
extern. Distribution kernels have no ``/proc/config.gz``, and the guest has no ``/boot``, so the configuration is
put into the initramfs; the guest program makes the name that libbpf looks for, and adds
``CONFIG_HZ``, as measured, where that line is missing.

Where a kernel's configuration is found, best first: beside the image (the cache of fetched kernels, a build
tree, ``/boot``), embedded in the image (``CONFIG_IKCONFIG=y``), and else only what the image itself proves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.guest.image import KernelImage, read_vmlinux

MAX_CONFIG_BYTES = 4 << 20
"""Largest configuration that is accepted; those of distributions have 0.3 MB."""
_IKCONFIG_START = b"IKCFG_ST"
_BANNER_OPTIONS = ("SMP", "PREEMPT", "PREEMPT_DYNAMIC", "PREEMPT_RT")
ConfigOrigin: TypeAlias = Literal["file", "embedded", "partial"]


class KernelConfig(msgspec.Struct, frozen=True):
    """A kernel's configuration, in the format of ``.config``."""

    text: bytes
    origin: ConfigOrigin
    """Where it comes from; ``partial`` holds only what the image proves, so most options are missing."""
    path: Path | None = None
    """The file it was read from, for ``file``."""


def find_config(image: KernelImage) -> KernelConfig:
    """Find the build configuration of a kernel.

    Args:
        image: The kernel.

    Returns:
        The configuration; a partial one where none is found.
    """
    for path in _places(image):
        text = _read(path)
        if text is not None:
            return KernelConfig(text, "file", path)
    embedded = embedded_config(read_vmlinux(image.path_to_boot))
    if embedded is not None:
        return KernelConfig(embedded, "embedded")
    return KernelConfig(_partial(image), "partial")


def embedded_config(vmlinux: bytes) -> bytes | None:
    """Take the configuration out of a kernel that was built with ``CONFIG_IKCONFIG=y``.

    ``kernel/configs.c`` puts it, gzipped, between the words ``IKCFG_ST`` and ``IKCFG_ED``.

    Args:
        vmlinux: The uncompressed kernel.

    Returns:
        The configuration; None when there is none, or it is damaged.
    """
    at = vmlinux.find(_IKCONFIG_START + b"\x1f\x8b")
    if at < 0:
        return None
    unpacking = zlib.decompressobj(wbits=31)
    try:
        text = unpacking.decompress(vmlinux[at + len(_IKCONFIG_START) :][:MAX_CONFIG_BYTES], MAX_CONFIG_BYTES)
    except zlib.error:
        return None
    return text if unpacking.eof and b"CONFIG_" in text else None


def _places(image: KernelImage) -> Iterator[Path]:
    kernel = image.path_to_boot
    yield kernel.with_name(f"config-{image.release}")
    # The cache of fetched kernels, and /usr/lib/modules/RELEASE of Debian's packages from 6.19 on.
    yield kernel.with_name("config")
    if kernel.parent.parts[-3:] == ("arch", "x86", "boot"):
        yield kernel.parents[3] / ".config"
    elif kernel.name == "vmlinux":
        yield kernel.with_name(".config")


def _read(path: Path) -> bytes | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_CONFIG_BYTES:
            return None
        text = path.read_bytes()
    except OSError:
        return None
    return text if b"CONFIG_" in text else None


def _partial(image: KernelImage) -> bytes:
    options = ["X86_64", "64BIT", "X86", "MMU", "BPF", "BPF_SYSCALL", "BPF_JIT", "SCHED_CLASS_EXT"]
    if image.btf is not None:
        options += ["DEBUG_INFO", "DEBUG_INFO_BTF"]
    # The words of UTS_VERSION, which the banner of every kernel shows ("#1 SMP PREEMPT_DYNAMIC …").
    options += [word for word in image.version.split() if word in _BANNER_OPTIONS]
    return "".join(f"CONFIG_{option}=y\n" for option in options).encode()


def has_options(config: KernelConfig, *names: str) -> bool:
    """Return whether a configuration says that all of these options are built in."""
    lines = set(config.text.splitlines())
    return all(f"CONFIG_{name}=y".encode() in lines for name in names)
