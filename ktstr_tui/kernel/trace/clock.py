"""What time it is on the trace's clock, while nobody writes an event.

The trace's clock is ``sched_clock()``, and so is ``rq->clock`` but for a constant, which the kernel keeps
(``__sched_clock_offset``, kernel/sched/clock.c). The latest of both on all CPUs is now: a CPU that runs is at most one
tick behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.symbols import Symbols

_SIGN = 1 << 63


def trace_now_ns(
    symbols: Symbols, space: AddressSpace, last_ns: Iterable[int | None], clocks: Iterable[int | None]
) -> int:
    """Return the time, 0 when nothing is known.

    Args:
        symbols: The kernel's kallsyms.
        space: Its memory.
        last_ns: Of each CPU's last event.
        clocks: Of each CPU, ``rq->clock``.
    """
    times = [time_ns for time_ns in last_ns if time_ns]
    where = symbols.find("__sched_clock_offset")
    try:
        offset = None if where is None else space.u64(where)
    except MemoryReadError:
        offset = None
    if offset is not None:
        offset -= (offset & _SIGN) << 1
        times += [clock - offset for clock in clocks if clock]
    return max(times, default=0)
