"""The values that a tracker takes and gives, shared by the one in C and its specification in Python.

Absent is not zero here either: a pid namespace or a generation that could not be read is ``None``, and what is
unknown never conflicts with what is known later.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from ktstr_tui._native import lib
from ktstr_tui.wire.vlp import Beat, Status

DEFAULT_CAPACITY: Final = 256
MAX_CAPACITY: Final = lib.KTB_MAX_CAPACITY
"""The most pids a tracker keeps, so that no pass over its slots is long."""
DEFAULT_SCAN_WINDOW: Final = 256
MAX_SCAN_WINDOW: Final = MAX_CAPACITY
EVICTION_MULTIPLIER: Final = lib.KTB_EVICTION_MULTIPLIER
"""A slot may be given away after a silence of more than so many thresholds."""
NONCE_WRAP_WINDOW: Final = lib.KTB_NONCE_WRAP_WINDOW
"""How near to both ends of the nonces a step back must be to count as going round."""
AUTH_FAILURE: Final = "AuthFailure"
"""Error of a datagram whose frame names another pid than its attested sender."""

Eviction = Literal["strict", "balanced"]
"""Which slot of a full table a new pid may take: `strict` only one whose stall was reported, `balanced` at need
also another one, when either was silent for more than `EVICTION_MULTIPLIER` thresholds."""

COUNTERS: Final = (
    "inserted",
    "refreshed",
    "out_of_order",
    "capacity_exceeded",
    "origin_conflicts",
    "namespace_conflicts",
    "nonce_wraps",
    "pid_recycles",
    "evictions",
    "eviction_scan_truncated",
    "stalls",
    "recoveries",
    "forgotten",
    "invariant_violations",
    "probe_exhausted",
)
"""Names for `Tracker.take`, in the order of the C enumeration ``ktb_counter``."""
assert len(COUNTERS) == lib.KTB_COUNTERS


class Update(IntEnum):
    """What the tracker did with a beat: the values of the C enumeration ``ktb_update``."""

    INSERTED = lib.KTB_INSERTED
    """The pid was new and got a slot, or its slot passed to a new process of the same pid."""
    REFRESHED = lib.KTB_REFRESHED
    """The slot has the new nonce, time and status."""
    OUT_OF_ORDER = lib.KTB_OUT_OF_ORDER
    """The nonce did not grow; the slot is as before."""
    CAPACITY_EXCEEDED = lib.KTB_CAPACITY_EXCEEDED
    """The pid is new and there is no slot for it."""
    ORIGIN_CONFLICT = lib.KTB_ORIGIN_CONFLICT
    """Another transport than the one that the pid was first heard on; the slot is as before."""
    NAMESPACE_CONFLICT = lib.KTB_NAMESPACE_CONFLICT
    """Another pid namespace than the pid was first heard from; the slot is as before."""


class Origin(IntEnum):
    """Who vouches for the sender's pid."""

    KERNEL_ATTESTED = 0
    """The host's kernel: credentials of a Unix datagram."""
    NETWORK_UNVERIFIED = 1
    """Nobody: any UDP, encrypted UDP included."""
    HYPERVISOR_ATTESTED = 2
    """The machine monitor: it came through the guest's own port. The pid is one of the guest's."""


class Stall(msgspec.Struct, frozen=True, gc=False):
    """One silence that reached the threshold; reported once, until the pid beats again."""

    pid: int
    last_nonce: int
    last_ns: int
    """When the last beat was accepted, on the caller's clock."""
    origin: Origin
    pid_ns_inode: int | None
    generation: int | None = None


class TrackedRow(msgspec.Struct, frozen=True, gc=False):
    """What the tracker knows of one pid."""

    pid: int
    status: Status
    nonce: int
    """The highest regular one; `NONCE_TERMINAL` when the only beats were terminal ones."""
    timestamp: int
    """Of the last beat, on the sender's clock."""
    last_ns: int
    payload: int
    origin: Origin
    pid_ns_inode: int | None
    generation: int | None
    """What tells processes of the same pid apart: the start time of the process."""
    stalled: bool
    """Whether the present silence was stated as a stall."""
    terminal: bool
    """Whether the last beat was a terminal one."""
    beats: int
    """Accepted since the pid got its slot; likewise the counts below."""
    nonce_gaps: int
    """Beats accepted whose nonce was not the next one."""
    beats_missed: int
    """Nonces left out in those gaps."""
    stalls: int


class TrackerStatistics(msgspec.Struct, frozen=True):
    """Counters of one tracker since its creation (taking one does not change them), and its present state."""

    capacity: int
    """Slots."""
    tracked: int
    """Slots in use."""
    stall_emitted_count: int
    """Slots whose present silence was stated as a stall."""
    eviction_scan_window: int
    """Slots that one eviction looks at, at most, in a pass."""
    eviction_scan_cursor: int
    """Where the next pass begins."""
    inserted: int
    refreshed: int
    out_of_order: int
    capacity_exceeded: int
    origin_conflicts: int
    namespace_conflicts: int
    nonce_wraps: int
    pid_recycles: int
    """Slots that passed to a new process of the same pid."""
    evictions: int
    eviction_scan_truncated: int
    """Evictions that found no victim."""
    stalls: int
    recoveries: int
    """Beats that ended a stated stall."""
    forgotten: int
    invariant_violations: int
    """Contradictions inside the tracker, got over without harm; more than 0 is a defect of ours."""
    probe_exhausted: int
    """Pids refused because their places in the index were all taken, with slots still free."""


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """A datagram as it was received."""

    data: bytes
    origin: Origin
    peer_pid: int | None = None
    """The attested sender. When known, a frame that names another pid is refused with `AUTH_FAILURE`."""
    peer_uid: int | None = None
    pid_ns_inode: int | None = None
    generation: int | None = None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a datagram: an error, or a beat and an update."""

    error: str | None
    """A kind of `VlpError`, or `AUTH_FAILURE`."""
    beat: Beat | None
    """Present also with `AUTH_FAILURE`: what was claimed."""
    update: Update | None
    recovery_ns: int | None = None
    """How long the stalled sender had been silent, when this beat ended a stall."""
