"""What a BPF object says about its scheduler that the kernel is known to refuse: told before anything starts."""

from __future__ import annotations

import io
from collections.abc import Iterator

from elftools.elf.elffile import ELFFile

from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.model.errors import UsageError

MAX_TIMEOUT_MS = 30_000
"""``SCX_WATCHDOG_MAX_TIMEOUT``: the kernel refuses more with ``E2BIG``."""
OPS_NAME = "sched_ext_ops"


def require_timeouts(name: str, content: bytes) -> None:
    """Check ``timeout_ms`` of every ``struct sched_ext_ops`` in a BPF object.

    An object whose types cannot be read is left to libbpf, which says more about it.

    Args:
        name: What the object is called.
        content: The object.

    Raises:
        UsageError: One is longer than the kernel allows.
    """
    try:
        found = timeouts_ms(content)
    except (BtfError, KeyError, ValueError, IndexError):
        return
    for ops, timeout_ms in found:
        if timeout_ms > MAX_TIMEOUT_MS:
            raise UsageError(
                f"{name}: timeout_ms of {ops} is {timeout_ms}, and the kernel allows at most {MAX_TIMEOUT_MS}",
                f"set .timeout_ms to {MAX_TIMEOUT_MS} or less, or leave it out for {MAX_TIMEOUT_MS}",
            )


def timeouts_ms(content: bytes) -> list[tuple[str, int]]:
    """Return the name and ``timeout_ms`` of every ``struct sched_ext_ops`` in a BPF object.

    Raises:
        BtfError, KeyError, ValueError, IndexError: The object or its types are damaged.
    """
    return list(_read_timeouts(content))


def _read_timeouts(content: bytes) -> Iterator[tuple[str, int]]:
    elf = ELFFile(io.BytesIO(content))
    sections = {section.name: section.data() for section in elf.iter_sections() if section["sh_size"]}
    btf = Btf(sections[".BTF"])
    ops = btf.find(OPS_NAME, Kind.STRUCT)
    place = btf.place(ops, "timeout_ms") if ops is not None else None
    if place is None:
        return
    for name in (".struct_ops", ".struct_ops.link"):
        section = btf.find(name, Kind.DATASEC)
        for variable in btf.section(section) if section is not None and name in sections else ():
            record = btf.record(variable.type_id)
            if btf.resolve(record.size_or_type).id == ops:
                at = variable.offset_bytes + place.bit_offset // 8
                yield record.name, int.from_bytes(sections[name][at : at + 4], "little")
