"""Registers of all vCPUs as QEMU's monitor prints them: of a machine that is held, and that must not be stopped.

The monitor leaves out the kernel's other GS base and CR8. They are None, which is not zero. Before long mode it prints
the lower halves under their old names, and R8 to R15 not at all: no program can have written to them by then.
"""

from __future__ import annotations

import re

from ktstr_tui.guest.engine import Registers
from ktstr_tui.model.errors import InternalError

_CPU = re.compile(r"^CPU#(\d+)", re.MULTILINE)
_VALUE = re.compile(r"\b([RE][A-Z0-9]{1,2}|CR[0234]|EFER) *= *([0-9a-f]+)")
_SEGMENT = re.compile(r"^([ECSDFG]S) *= *([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)


def parse_registers(text: str) -> dict[int, Registers]:
    """Read what ``info registers -a`` prints.

    Raises:
        InternalError: A register is missing in it.
    """
    parts = _CPU.split(text)[1:]
    return {
        int(number): _parse_one(int(number), body)
        for number, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _parse_one(vcpu: int, text: str) -> Registers:
    found = _VALUE.findall(text)
    values = {name.lower(): int(value, 16) for name, value in found}
    if "eip" in values:
        late = {f"r{number}": 0 for number in range(8, 16)}
        values |= late | {f"r{name.lower()[1:]}": int(value, 16) for name, value in found if len(name) == 3}
    for name, selector, base in _SEGMENT.findall(text):
        values[name.lower()] = int(selector, 16)
        values[f"{name.lower()}_base"] = int(base, 16)
    values["eflags"] = values.pop("rfl", -1)
    wanted = [name for name in Registers.__struct_fields__ if name not in ("k_gs_base", "cr8")]
    missing = [name for name in wanted if values.get(name, -1) < 0]
    if missing:
        raise InternalError(
            f"QEMU's monitor does not print the registers {', '.join(missing)} of vCPU {vcpu}"
        )
    return Registers(**{name: values[name] for name in wanted}, k_gs_base=None, cr8=None)
