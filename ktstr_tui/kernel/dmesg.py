"""The last lines of the kernel's log, out of its ring buffer."""

from __future__ import annotations

from drgn import FaultError, Program
from drgn.helpers.linux.printk import get_printk_records

from ktstr_tui.model.errors import GuestError

_MAX_LINE_CHARS = 1024


class DmesgUnreadable(GuestError):
    """The log could not be read."""


def dmesg_tail(prog: Program, lines: int) -> tuple[str, ...]:
    """The newest ``lines`` lines as ``[seconds] text``, oldest first.

    Raises:
        DmesgUnreadable: If the ring buffer could not be followed.
    """
    try:
        records = get_printk_records(prog)[-lines:]
    except (FaultError, LookupError, ValueError, TypeError) as problem:
        raise DmesgUnreadable(f"the kernel's log could not be read: {problem}") from problem
    out = []
    for record in records:
        stamp = f"[{record.timestamp / 1e9:12.6f}] "
        body = record.text[:_MAX_LINE_CHARS].decode("utf-8", "replace")
        out += [stamp + line for line in body.splitlines()]
    return tuple(out[-lines:])
