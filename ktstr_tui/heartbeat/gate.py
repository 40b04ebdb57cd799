"""Judges datagrams and passes them to the tracker, in C (``native/heartbeat/ktstr_gate.h`` lists the checks in order).

It is written here and not taken from a library because it is part of Varta's contract, and in C because a flood of
datagrams must not cost a Python object each.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.datagrams import DatagramArray
from ktstr_tui.heartbeat.tracked import Update
from ktstr_tui.heartbeat.tracker import ERRORS as TRACKER_ERRORS
from ktstr_tui.heartbeat.tracker import OUTCOME, Tracker
from ktstr_tui.wire.vlp import Beat, Status

FOREIGN_UID: Final = "ForeignUid"
PID_ABOVE_MAX: Final = "PidAboveMax"
PID_LIMITED: Final = "PidLimited"
ALL_LIMITED: Final = "AllLimited"
FOREIGN_NAMESPACE: Final = "ForeignNamespace"
ERRORS: Final = (
    *TRACKER_ERRORS,
    FOREIGN_UID,
    PID_ABOVE_MAX,
    PID_LIMITED,
    ALL_LIMITED,
    FOREIGN_NAMESPACE,
)
"""Indexed by ``ktb_outcome.error``."""
assert len(ERRORS) == lib.KTR_REFUSALS_END
assert ERRORS.index(FOREIGN_UID) == lib.KTR_FOREIGN_UID
NO_RECOVERY: Final = lib.KTB_NO_RECOVERY

_STATUSES: Final = tuple(Status)
_UPDATES: Final = tuple(Update)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is let through."""

    max_rate_per_pid: float = 100.0
    """Beats of one pid in a second; 0 for no limit."""
    max_rate: int = 5000
    """Beats of all pids in a second; 0 for no limit."""
    burst: int = 10000
    """Beats that may come at once after a pause."""
    uid: int | None = None
    """The only user let in."""
    pid_ns_inode: int | None = None
    """The only pid namespace let in; None lets all in, without a lookup in /proc."""
    identity_ttl_ns: int = 1_000_000_000
    """How long what /proc said of a pid is believed."""
    pid_max: int | None = None
    """The highest pid there can be."""


class GateStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one gate since its creation."""

    passed: int
    """Datagrams that the tracker saw as beats, whatever it said to them."""
    errors: dict[str, int]
    """All others, by the names in `ERRORS`."""
    lookups: int
    """Of a sender in /proc."""
    unreadable: int
    """Lookups that found no namespace."""


class GateOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one datagram."""

    index: int
    beat: Beat
    """Meaningless for datagrams that are no beats."""
    error: str | None
    update: Update | None
    recovery_ns: int | None


def own_namespace() -> int:
    """Return the inode of this process's pid namespace."""
    return os.stat("/proc/self/ns/pid").st_ino


def read_pid_max(path: Path = Path("/proc/sys/kernel/pid_max")) -> int | None:
    """Read the highest pid that this machine gives; None when that cannot be read."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class Gate:
    """Lets datagrams through to a tracker.

    Args:
        rules: What is let through.
        room: Datagrams of one call at most.
    """

    def __init__(self, rules: Rules, room: int) -> None:
        self.rules = rules
        self._room = room
        values = {
            "min_interval_ns": int(1e9 / rules.max_rate_per_pid) if rules.max_rate_per_pid else 0,
            "beats_per_s": rules.max_rate,
            "burst": rules.burst,
            "pid_ns_inode": rules.pid_ns_inode or 0,
            "identity_ttl_ns": rules.identity_ttl_ns,
            "pid_max": rules.pid_max or 0,
            "uid": rules.uid or 0,
            "check_uid": rules.uid is not None,
        }
        handle = lib.ktr_gate_create(ffi.new("struct ktr_rules *", values))
        if handle == ffi.NULL:
            raise MemoryError("no memory for a gate")
        self._handle = ffi.gc(handle, lib.ktr_gate_destroy)
        self._outcomes = ffi.new(f"struct ktb_outcome[{room}]")
        self._bytes = ffi.buffer(self._outcomes)
        self._notable = ffi.new(f"uint32_t[{room}]")
        self._state = ffi.new("struct ktr_gate_state *")

    def set_pid_max(self, pid_max: int) -> None:
        """Take over a new highest pid of the machine."""
        lib.ktr_gate_set_pid_max(self._handle, pid_max)

    def let_through(
        self, tracker: Tracker, datagrams: DatagramArray, now_ns: int, threshold_ns: int, told: int
    ) -> list[GateOutcome]:
        """Judge datagrams and enter them.

        Args:
            tracker: Where beats are entered.
            datagrams: At most as many as the gate has room for.
            now_ns: When they were received.
            threshold_ns: Of the tracker.
            told: How many errors and conflicts to give in full; all are counted.

        Returns:
            Every recovery, and so many errors and conflicts.
        """
        found = lib.ktr_gate_pass(
            self._handle,
            tracker.handle,
            datagrams.handle,
            datagrams.count,
            now_ns,
            threshold_ns,
            self._outcomes,
            self._notable,
            told,
        )
        return [self.outcome(self._notable[i]) for i in range(found)]

    def outcome(self, index: int) -> GateOutcome:
        """Read what became of one datagram of the last call."""
        raw = self._bytes[index * OUTCOME.size : (index + 1) * OUTCOME.size]
        timestamp, nonce, pid, payload, status, recovery_ns, error, update = OUTCOME.unpack(raw)
        beat = Beat(
            _STATUSES[status] if status < len(_STATUSES) else Status.OK, pid, timestamp, nonce, payload
        )
        kind = ERRORS[error]
        return GateOutcome(
            index,
            beat,
            kind,
            _UPDATES[update] if kind is None else None,
            recovery_ns if kind is None and recovery_ns != NO_RECOVERY else None,
        )

    def statistics(self) -> GateStatistics:
        """Return the counters so far."""
        lib.ktr_gate_state(self._handle, self._state)
        state = self._state
        return GateStatistics(
            passed=state.errors[0],
            errors={name: state.errors[number] for number, name in enumerate(ERRORS) if name is not None},
            lookups=state.lookups,
            unreadable=state.unreadable,
        )
