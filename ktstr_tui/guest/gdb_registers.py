"""Registers as this program lays them out for a debugger, where no stub of QEMU's does: by name, in gdb's order.

The x87 registers, which gdb wants of every x86 and which nobody keeps, are unavailable, as is whatever else is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_GENERAL = (
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rbp",
    "rsp",
    *(f"r{number}" for number in range(8, 16)),
)
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_X87 = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_MACHINE = ("fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer")
_SIZES: dict[str, int] = {
    **dict.fromkeys((*_GENERAL, "rip"), 8),
    **dict.fromkeys(("eflags", *_SEGMENTS), 4),
    **dict.fromkeys((f"st{number}" for number in range(8)), 10),
    **dict.fromkeys(_X87, 4),
    **dict.fromkeys(_MACHINE, 8),
}
"""Bytes of each register, in gdb's order."""
_TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr"}


def _describe_registers() -> str:
    def of(names: Sequence[str]) -> str:
        kinds = ((name, "i387_ext" if name[:2] == "st" else f"int{_SIZES[name] * 8}") for name in names)
        return "".join(
            f'<reg name="{name}" bitsize="{_SIZES[name] * 8}" type="{_TYPES.get(name, kind)}"/>'
            for name, kind in kinds
        )

    core = of([name for name in _SIZES if name not in _MACHINE])
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture>'
        f'<feature name="org.gnu.gdb.i386.core">{core}</feature>'
        f'<feature name="org.ktstr.machine">{of(_MACHINE)}</feature></target>'
    )


DESCRIPTION: Mapping[str, str] = {"target.xml": _describe_registers()}
"""The target description: XML by the name of its document."""


def answer_registers(values: Mapping[str, int], request: str) -> str:
    """Answer ``g``, or ``p`` with a number in hexadecimal, in hex text.

    Args:
        values: Registers by name; those that are missing are unavailable.
        request: The request.
    """
    if request == "g":
        return "".join(_text(values, name) for name in _SIZES)
    number = int(request[1:], 16)
    return _text(values, list(_SIZES)[number]) if number < len(_SIZES) else "E01"


def _text(values: Mapping[str, int], name: str) -> str:
    size, value = _SIZES[name], values.get(name)
    if value is None:
        return "xx" * size
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little").hex()
