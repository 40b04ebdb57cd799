"""The kernel's tick rate, which nothing in memory states outright.

``clocksource_jiffies`` counts jiffies, so its multiplier is the length of one in nanoseconds, shifted:
exact. Where that symbol is missing, delay calibration gives it: ``lpj_fine`` is TSC cycles per jiffy and
``tsc_khz`` cycles per millisecond. The common configurations are few, so a value close to one of them is
that one.
"""

from __future__ import annotations

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf, BtfError
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols

_USUAL = (100, 250, 300, 1000)
_DEFAULT_HZ = 250
_TOLERANCE = 0.05


def find_hz(btf: Btf, symbols: Symbols, space: AddressSpace) -> tuple[int, str]:
    """Ticks per second, and where that was found (``assumed`` when nowhere)."""
    for source, look in (("clocksource_jiffies", _from_clocksource), ("lpj_fine", _from_delay_loop)):
        try:
            hz = look(btf, symbols, space)
        except (BtfError, LookupError, MemoryReadError, ArithmeticError, TypeError, ValueError):
            # Of a type that is zeroed or has other members, values are bytes, None, or out of range.
            continue
        if 1 <= hz <= 10_000:
            return hz, source
    return _DEFAULT_HZ, "assumed"


def _from_clocksource(btf: Btf, symbols: Symbols, space: AddressSpace) -> int:
    layout = Layout(btf, "clocksource", {"mult": "mult", "shift": "shift"})
    row = layout.read(space, symbols.address("clocksource_jiffies"))
    return round(1e9 / int(row["mult"] >> row["shift"]))


def _from_delay_loop(_btf: Btf, symbols: Symbols, space: AddressSpace) -> int:
    hz = space.u32(symbols.address("tsc_khz")) * 1000 / space.u64(symbols.address("lpj_fine"))
    return next((usual for usual in _USUAL if abs(hz - usual) < usual * _TOLERANCE), 0)
