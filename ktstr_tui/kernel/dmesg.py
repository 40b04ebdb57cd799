"""The last lines of the kernel's log, out of its ring buffer.

drgn walks the ring (``struct printk_ringbuffer``, kernel/printk/printk_ringbuffer.h) from ``tail_id`` to ``head_id``
and believes both. A ring that was overwritten would keep it busy for 2**62 steps, so their distance is checked before.

How exact is this? The ring is read while the kernel writes to it: the newest record may be missing, and one that is
overwritten meanwhile may have the text of another.
"""

from __future__ import annotations

from drgn import FaultError, Program
from drgn.helpers.linux.printk import get_printk_records

from ktstr_tui.model.errors import GuestError

_MAX_LINE_CHARS = 1024
_MAX_COUNT_BITS = 20
"""Of the ring: a million records, far above what ``log_buf_len=`` gives."""
_ID_MASK = (1 << 62) - 1
"""The upper two bits of a record's state word are its state."""


class DmesgUnreadable(GuestError):
    """The log could not be read."""


def dmesg_tail(prog: Program, lines: int) -> tuple[str, ...]:
    """The newest ``lines`` lines as ``[seconds] text``, oldest first.

    Raises:
        DmesgUnreadable: If the ring buffer could not be followed.
    """
    try:
        _check_ring(prog)
        records = get_printk_records(prog)[-lines:]
    except (FaultError, LookupError, ValueError, TypeError) as problem:
        raise DmesgUnreadable(f"the kernel's log could not be read: {problem}") from problem
    out = []
    for record in records:
        stamp = f"[{record.timestamp / 1e9:12.6f}] "
        body = record.text[:_MAX_LINE_CHARS].decode("utf-8", "replace")
        out += [stamp + line for line in body.splitlines()]
    return tuple(out[-lines:])


def _check_ring(prog: Program) -> None:
    ring = prog["prb"].desc_ring
    bits = ring.count_bits.value_()
    records = (ring.head_id.counter.value_() - ring.tail_id.counter.value_()) & _ID_MASK
    if bits > _MAX_COUNT_BITS or records >> bits:
        raise ValueError(f"a ring of 2**{bits} places cannot hold {records} records")
