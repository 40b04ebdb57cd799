"""Which vCPU is held, when the observer meets it for the first time; ``native/observer/turns.h`` says why it asks.

The registers that the observer reads are of the vCPU that executes, and QEMU's monitor prints those of all of them by
number: the one with the same values is it. Only vCPUs that have just been reset, or that were all started at one
address, are alike in every register; those take their first turns in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ktstr_tui.guest.engine import Registers
from ktstr_tui.model.errors import InternalError

_MOVING: Final = {"rip", "eflags"}
"""Which the emulation brings up to date only at times."""


def whose_turn(own: Registers | None, of_all: Mapping[int, Registers], met: Collection[int]) -> int:
    """The number of the vCPU that executes.

    Args:
        own: Its registers; None when one could not be read.
        of_all: Those of every vCPU, as the monitor prints them.
        met: The vCPUs that it cannot be, as they were met before.

    Raises:
        InternalError: It is none of them.
    """
    for vcpu in sorted(of_all):
        if own is not None and vcpu not in met and _same(own, of_all[vcpu]):
            return vcpu
    raise InternalError("QEMU's monitor shows no vCPU with the registers of the one that is held")


def _same(one: Registers, other: Registers) -> bool:
    pairs = (
        (getattr(one, name), getattr(other, name)) for name in one.__struct_fields__ if name not in _MOVING
    )
    return all(left == right for left, right in pairs if left is not None and right is not None)
