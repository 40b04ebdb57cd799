"""The observers' counters as values of metrics, and their text exposition.

Every label value is there from the first scrape on, with 0: a rule that asks whether something is absent can only
mean that the observer is gone. Values come in two domains (`ktstr_tui.model.beats`), which a label names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as PrometheusMetric
from prometheus_client.registry import Collector

from ktstr_tui.heartbeat.gate import ALL_LIMITED, FOREIGN_NAMESPACE, FOREIGN_UID, PID_ABOVE_MAX, PID_LIMITED
from ktstr_tui.heartbeat.metric_table import Metric, all_metrics
from ktstr_tui.heartbeat.observer import ObserverStatistics
from ktstr_tui.heartbeat.sockets import DatagramStatistics
from ktstr_tui.heartbeat.tracked import AUTH_FAILURE, TrackedRow
from ktstr_tui.wire.vlp import BAD_LENGTH

BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Of the histograms."""
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
_NO_SOCKET: Final = DatagramStatistics(
    taken=0, control_truncated=0, without_credentials=0, closed_descriptors=0, io_errors=0
)
Labels = tuple[tuple[str, str], ...]
_BY_NAME: Final = {metric.name: metric for metric in all_metrics()}


def histogram(name: str) -> Histogram:
    """Make one of the histograms of `all_metrics`, for `exposition`."""
    metric = _BY_NAME[name]
    return Histogram(name, metric.help, metric.labels, buckets=BOUNDS_S, registry=None)


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
    sockets: Iterable[DatagramStatistics] = (),
    secure: SecureCounts | None = None,
) -> list[Value]:
    """Collect what one observer and its sockets have counted."""
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
        "ktstr_beats_out_of_order_total": tracker.out_of_order,
        "varta_frame_auth_failures_total": errors[AUTH_FAILURE] + errors[FOREIGN_UID],
        "varta_io_errors_total": total.io_errors,
        "varta_ctrl_truncated_total": total.control_truncated,
        "varta_truncated_datagrams_total": errors[BAD_LENGTH],
        "varta_frame_namespace_mismatch_total": errors[FOREIGN_NAMESPACE],
        "varta_frame_rejected_pid_above_max_total": errors[PID_ABOVE_MAX],
        "ktstr_beats_received_descriptors_closed_total": total.closed_descriptors,
        "varta_frame_decrypt_failures_total": sealed.decrypt_failures,
        "varta_sender_state_full_total": sealed.state_full,
        "varta_secure_aead_attempts_total": sealed.aead_attempts,
        "varta_secure_replay_refused_total": sealed.replays_refused,
        "varta_observer_clock_regression_total": clock.regressions,
        "varta_observer_clock_jump_forward_total": clock.jumps,
        "ktstr_beats_unobserved_milliseconds_total": clock.unobserved_ns // 1_000_000,
        "ktstr_beats_frozen_milliseconds_total": clock.frozen_ns // 1_000_000,
        "ktstr_beats_events_dropped_total": stats.events_dropped,
        "ktstr_beats_accepted_total": tracker.inserted + tracker.refreshed,
        "ktstr_beats_stalls_total": stats.stalls,
        "ktstr_beats_recoveries_total": stats.recoveries,
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


def _sum(sockets: Iterable[DatagramStatistics]) -> DatagramStatistics:
    totals = msgspec.structs.asdict(_NO_SOCKET)
    for one in sockets:
        for name, value in msgspec.structs.asdict(one).items():
            totals[name] += value
    return DatagramStatistics(**totals)


def row_values(domain: str, rows: Iterable[TrackedRow], pid_of: Mapping[int, int]) -> list[Value]:
    """Collect what is exported of each sender.

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
    """Add up counts by name and by the labels other than the domain's, and leave those of 0 out."""
    sums: dict[str, int] = {}
    for name, labels, value in values:
        rest = ",".join(f'{key}="{text}"' for key, text in labels if key != "domain")
        key = f"{name}{{{rest}}}" if rest else name
        sums[key] = sums.get(key, 0) + int(value)
    return {key: value for key, value in sums.items() if value}


class _Values(Collector):
    """Gives values and histograms to the library, grouped by metric."""

    def __init__(self, values: Iterable[Value], histograms: Iterable[Histogram]) -> None:
        self._values = values
        self._histograms = histograms

    def collect(self) -> Iterator[PrometheusMetric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, labels, value in self._values:
            if name not in families:
                families[name] = _family(_BY_NAME[name])
            families[name].add_metric([text for _, text in labels], value)
        yield from families.values()
        for metric in (metric for one in self._histograms for metric in one.collect()):
            # The moment in which a histogram was made is no metric of the list.
            metric.samples = [it for it in metric.samples if not it.name.endswith("_created")]
            yield metric


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return make(metric.name, metric.help, labels=metric.labels)


def exposition(values: Iterable[Value], histograms: Iterable[Histogram] = ()) -> str:
    """Render the text format of Prometheus, version 0.0.4.

    Raises:
        KeyError: A value is of no metric of `all_metrics`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Values(values, histograms))
    return generate_latest(registry).decode()
