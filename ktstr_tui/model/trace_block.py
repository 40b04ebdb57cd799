"""Blocks of the kernel's trace: what viewers draw a timeline from, and what a recording keeps of it.

About once a second all that was written since goes into one block, packed (`wire.trace_block` says how). Times are
nanoseconds on the trace's own clock. Each block also says which moment of the host's clock is which of the trace's, so
that what else happened can be drawn beside the events.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from ktstr_tui.model.event_base import RunEvent

TraceKind: TypeAlias = Literal[
    "switch",
    "wakeup",
    "waking",
    "new",
    "migrate",
    "exit",
    "enqueue",
    "insert",
    "remove",
    "move",
    "kick",
    "bypass",
    "text",
    "other",
]
"""What an event says.

``waking`` is a wakeup that was asked for, ``wakeup`` one that has been done, ``new`` the wakeup of a task that has
just been made. ``enqueue`` gives a task to the scheduler, ``insert`` and ``remove`` are about a DSQ, ``move`` is to
another CPU's local one. ``text`` is a line of a program's.
"""

MAX_BLOCK_EVENTS: Final = 100_000
"""In one block; the newest are kept."""
MAX_KEPT_BYTES: Final = 1 << 20
"""Of packed events in the state of a run."""
MAX_KEPT_BLOCKS: Final = 600
MAX_RECORDED_BYTES: Final = 256 << 20
"""Of packed events in one recording."""


class TraceRow(NamedTuple):
    """One event of a block."""

    time_ns: int
    cpu: int
    kind: TraceKind
    pid: int
    """Of the task that it is about; of a switch, the one that runs from now on."""
    other: int
    """Of a switch the task that ran until now; else the task that ran on this CPU."""
    number: int
    """Of a switch the state in which that left; else the id of a DSQ."""
    to_cpu: int
    prio: int


class TraceBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Events of all CPUs in order of time."""

    begin_ns: int
    """From when on nothing is missing but what `lost` and `left_out` say."""
    end_ns: int
    """Until when."""
    now_ns: int
    """The trace's clock at the look, as near as it is known: to one tick of a CPU that runs."""
    mono_ns: int
    """The host's clock at the same moment."""
    events: int = 0
    data: bytes = b""
    comms: dict[int, str] = {}
    """Names of the tasks that it is about, as far as they are new or have changed."""
    lost: dict[int, int] = {}
    """Events of a CPU that were overwritten before they were read, or dropped by the kernel."""
    left_out: int = 0
    """Events that were read and are too many for a block."""
    dropped: str = ""
    """Why this block has no events though there were some; empty when it has them."""


class TraceRead(RunEvent, frozen=True, tag="trace"):
    """The kernel's trace was read on."""

    block: TraceBlock
