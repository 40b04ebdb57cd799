"""Read sizes of memory and disk as people write them: ``512K``, ``512M``, ``2G``."""

from __future__ import annotations

import re

from ktstr_tui.model.errors import UsageError

_MEMORY = re.compile(r"([0-9]{1,12})\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNIT_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "": 1 << 20}
MIN_MEMORY_MIB = 128


def parse_memory_mib(text: str) -> int:
    """``512M``, ``2G`` or a plain number of MiB, as MiB.

    Raises:
        UsageError: It is not a size, or too small to boot a kernel in.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"memory {text!r} is not a size", "write for example 512M or 2G")
    mib = int(match[1]) * _UNIT_BYTES[match[2].upper()] >> 20
    if mib < MIN_MEMORY_MIB:
        raise UsageError(
            f"memory {text!r} is too small to boot a kernel in", f"give at least {MIN_MEMORY_MIB}M"
        )
    return mib


def parse_disk_mib(text: str) -> int:
    """``10G`` or a plain number of MiB, as MiB; 0 is a size, too.

    Raises:
        UsageError: It is not a size, or less than a MiB but not 0.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size", "write for example 500M or 10G, or 0 for no limit")
    mib = int(match[1]) * _UNIT_BYTES[match[2].upper()] >> 20
    if mib == 0 and int(match[1]):
        raise UsageError(f"{text!r} is less than a MiB", "write for example 500M or 10G, or 0 for no limit")
    return mib


def parse_buffer_kib(text: str) -> int:
    """``512K`` or ``4M``, as KiB.

    Raises:
        UsageError: It is not a size, or has no unit.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None or not match[2]:
        raise UsageError(f"buffer size {text!r} is not a size", "write for example 512K or 4M")
    return int(match[1]) * _UNIT_BYTES[match[2].upper()] >> 10
