"""The observers' counters under the names that monitoring knows them by, and their text exposition.

Every label value is there from the first scrape on, with 0: a rule that asks whether something is absent can only
mean that nobody is asked any more. Values come in two domains (`ktstr_tui.model.beats`), told by a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from ktstr_tui.heartbeat.gate import ALL_LIMITED, FOREIGN_NAMESPACE, FOREIGN_UID, PID_ABOVE_MAX, PID_LIMITED
from ktstr_tui.heartbeat.histogram import BOUNDS_S, Histogram
from ktstr_tui.heartbeat.observer import ObserverStatistics
from ktstr_tui.heartbeat.sockets import SocketStatistics
from ktstr_tui.heartbeat.tracked import AUTH_FAILURE, TrackedRow
from ktstr_tui.wire.vlp import BAD_LENGTH

DECODE_LABELS: Final = {
    "BadMagic": "bad_magic",
    "BadVersion": "bad_version",
    "BadStatus": "bad_status",
    "BadPid": "bad_pid",
    "BadTimestamp": "bad_timestamp",
    "BadNonce": "bad_nonce",
    "StallOnWire": "stall_on_wire",
    "BadCrc": "bad_crc",
}
"""Kind of error to label, in the protocol's order."""
_GAUGES: Final = frozenset(
    (
        "varta_status",
        "varta_tracker_capacity",
        "varta_tracker_eviction_scan_window_max",
        "varta_pid_max_current",
        "varta_watch_pids_tracked",
        "varta_watch_uptime_seconds",
        "varta_watch_last_poll_loop_timestamp_seconds",
    )
)
_NO_SOCKET: Final = SocketStatistics(
    taken=0, control_truncated=0, without_credentials=0, closed_descriptors=0, io_errors=0
)
Labels = tuple[tuple[str, str], ...]


class SecureCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What the encrypted transport counts; zeros where there is none."""

    decrypt_failures: int = 0
    state_full: int = 0
    aead_attempts: int = 0
    replays_refused: int = 0


class Value(NamedTuple):
    """One sample of a metric."""

    name: str
    labels: Labels
    value: float


def observer_values(
    domain: str,
    stats: ObserverStatistics,
    sockets: Iterable[SocketStatistics] = (),
    secure: SecureCounts | None = None,
) -> list[Value]:
    """Everything that one observer and its sockets have counted."""
    errors, tracker, clock = stats.gate.errors, stats.tracker, stats.clock
    total = _sum(sockets)
    sealed = secure or SecureCounts()
    plain: dict[str, int] = {
        "varta_tracker_evicted_total": tracker.evictions,
        "varta_tracker_capacity_exceeded_total": tracker.capacity_exceeded,
        "varta_tracker_eviction_scan_truncated_total": tracker.eviction_scan_truncated,
        "varta_tracker_capacity": tracker.capacity,
        "varta_tracker_eviction_scan_window_max": tracker.eviction_scan_window,
        "varta_tracker_namespace_conflict_total": tracker.namespace_conflicts,
        "varta_tracker_pid_recycle_total": tracker.pid_recycles,
        "varta_tracker_invariant_violations_total": tracker.invariant_violations,
        "varta_tracker_pid_index_probe_exhausted_total": tracker.probe_exhausted,
        "varta_origin_conflict_total": tracker.origin_conflicts,
        "varta_nonce_wrap_total": tracker.nonce_wraps,
        "varta_out_of_order_total": tracker.out_of_order,
        "varta_frame_auth_failures_total": errors[AUTH_FAILURE] + errors[FOREIGN_UID],
        "varta_io_errors_total": total.io_errors,
        "varta_ctrl_truncated_total": total.control_truncated,
        "varta_truncated_datagrams_total": errors[BAD_LENGTH],
        "varta_frame_namespace_mismatch_total": errors[FOREIGN_NAMESPACE],
        "varta_frame_rejected_pid_above_max_total": errors[PID_ABOVE_MAX],
        "varta_received_descriptors_closed_total": total.closed_descriptors,
        "varta_frame_decrypt_failures_total": sealed.decrypt_failures,
        "varta_sender_state_full_total": sealed.state_full,
        "varta_secure_aead_attempts_total": sealed.aead_attempts,
        "varta_secure_replay_refused_total": sealed.replays_refused,
        "varta_observer_clock_regression_total": clock.regressions,
        "varta_observer_clock_jump_forward_total": clock.jumps,
        "varta_observer_unobserved_milliseconds_total": clock.unobserved_ns // 1_000_000,
        "varta_observer_frozen_milliseconds_total": clock.frozen_ns // 1_000_000,
        "varta_observer_events_dropped_total": stats.events_dropped,
        "varta_beats_accepted_total": tracker.inserted + tracker.refreshed,
        "varta_stalls_stated_total": stats.stalls,
        "varta_recoveries_total": stats.recoveries,
        "varta_watch_pids_tracked": tracker.tracked,
    }
    of = (("domain", domain),)
    values = [Value(name, of, count) for name, count in plain.items()]
    values += [
        Value("varta_decode_errors_total", (*of, ("kind", label)), errors[kind])
        for kind, label in DECODE_LABELS.items()
    ]
    limited = (("per_pid", PID_LIMITED), ("global", ALL_LIMITED))
    return values + [
        Value("varta_rate_limited_total", (*of, ("reason", reason)), errors[kind]) for reason, kind in limited
    ]


def _sum(sockets: Iterable[SocketStatistics]) -> SocketStatistics:
    totals = msgspec.structs.asdict(_NO_SOCKET)
    for one in sockets:
        for name, value in msgspec.structs.asdict(one).items():
            totals[name] += value
    return SocketStatistics(**totals)


def row_values(domain: str, rows: Iterable[TrackedRow], pid_of: Mapping[int, int]) -> list[Value]:
    """What is exported of each sender.

    Args:
        domain: Where the senders live.
        rows: The senders.
        pid_of: The pid to show, for those that cannot send their own.
    """
    values = []
    for row in rows:
        labels = (("domain", domain), ("pid", str(pid_of.get(row.pid, row.pid))))
        values += [
            Value("varta_beats_total", labels, row.beats),
            Value("varta_stalls_total", labels, row.stalls),
            Value("varta_status", labels, 3 if row.stalled else int(row.status)),
        ]
    return values


def summed(values: Iterable[Value]) -> dict[str, int]:
    """Counts by name and by the labels other than the domain's, those of 0 left out."""
    sums: dict[str, int] = {}
    for name, labels, value in values:
        rest = ",".join(f'{key}="{text}"' for key, text in labels if key != "domain")
        key = f"{name}{{{rest}}}" if rest else name
        sums[key] = sums.get(key, 0) + int(value)
    return {key: value for key, value in sums.items() if value}


def exposition(values: Iterable[Value], histograms: Mapping[tuple[str, Labels], Histogram]) -> str:
    """The text format of Prometheus, version 0.0.4."""
    families: dict[str, list[str]] = {}
    for name, labels, value in values:
        families.setdefault(name, []).append(f"{name}{_braces(labels)} {_number(value)}")
    lines = []
    for name, samples in families.items():
        lines += [f"# TYPE {name} {'gauge' if name in _GAUGES else 'counter'}", *samples]
    typed: set[str] = set()
    for (name, labels), histogram in histograms.items():
        if name not in typed:
            typed.add(name)
            lines.append(f"# TYPE {name} histogram")
        lines += _histogram_lines(name, labels, histogram)
    return "\n".join(lines) + "\n"


def _histogram_lines(name: str, labels: Labels, histogram: Histogram) -> list[str]:
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    lines = [
        f"{name}_bucket{_braces((*labels, ('le', bound)))} {count}"
        for bound, count in zip(bounds, histogram.cumulative(), strict=True)
    ]
    lines.append(f"{name}_sum{_braces(labels)} {_number(histogram.sum_s)}")
    return [*lines, f"{name}_count{_braces(labels)} {histogram.total}"]


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(text)}"' for key, text in labels) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
