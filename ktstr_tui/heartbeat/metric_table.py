"""Every exported metric, with its type and help.

Names that begin with ``varta_`` are those of the Varta observer, so that its dashboards and alerts work here too; what
it does not count begins with ``ktstr_``.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One exported metric."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ("domain",)


_METRICS: Final = (
    Metric("varta_beats_total", "counter", "Accepted beats of one sender.", ("domain", "pid")),
    Metric("varta_stalls_total", "counter", "Stalls of one sender.", ("domain", "pid")),
    Metric(
        "varta_status",
        "gauge",
        "Status of one sender: 0 ok, 1 degraded, 2 critical, 3 stalled.",
        ("domain", "pid"),
    ),
    Metric("varta_tracker_evicted_total", "counter", "Senders that lost their slot to a new pid."),
    Metric(
        "varta_tracker_capacity_exceeded_total", "counter", "Beats of new pids refused for want of a slot."
    ),
    Metric(
        "varta_tracker_eviction_scan_truncated_total", "counter", "Searches that found no slot to give away."
    ),
    Metric("varta_tracker_capacity", "gauge", "Senders that can be tracked at a time."),
    Metric("varta_tracker_eviction_scan_window_max", "gauge", "Slots that one search looks at, at most."),
    Metric(
        "varta_tracker_namespace_conflict_total",
        "counter",
        "Beats from another pid namespace than the first.",
    ),
    Metric(
        "varta_tracker_pid_recycle_total", "counter", "Slots that passed to a new process of the same pid."
    ),
    Metric(
        "varta_tracker_invariant_violations_total", "counter", "Contradictions inside the tracker: a defect."
    ),
    Metric(
        "varta_tracker_pid_index_probe_exhausted_total", "counter", "Pids that found no place in the index."
    ),
    Metric("varta_origin_conflict_total", "counter", "Beats over another transport than the first."),
    Metric("varta_nonce_wrap_total", "counter", "Nonces that went on with 0 after the last."),
    Metric("varta_frame_auth_failures_total", "counter", "Frames of another pid or user than their sender."),
    Metric(
        "varta_decode_errors_total", "counter", "Datagrams that are not a valid frame.", ("domain", "kind")
    ),
    Metric("varta_io_errors_total", "counter", "Failed reads of a socket."),
    Metric("varta_ctrl_truncated_total", "counter", "Datagrams dropped because of too much control data."),
    Metric("varta_truncated_datagrams_total", "counter", "Datagrams that are not 32 bytes long."),
    Metric("varta_rate_limited_total", "counter", "Beats above a limit of the rate.", ("domain", "reason")),
    Metric("varta_frame_namespace_mismatch_total", "counter", "Frames from a foreign pid namespace."),
    Metric("varta_frame_rejected_pid_above_max_total", "counter", "Frames with a pid that cannot be."),
    Metric("varta_frame_decrypt_failures_total", "counter", "Sealed frames that no key opens."),
    Metric(
        "varta_sender_state_full_total", "counter", "Sealed frames refused because the replay table is full."
    ),
    Metric("varta_secure_aead_attempts_total", "counter", "Keys tried on sealed frames."),
    Metric("varta_secure_replay_refused_total", "counter", "Sealed frames refused as replays."),
    Metric("varta_observer_clock_regression_total", "counter", "Steps back of the observer's clock."),
    Metric("varta_observer_clock_jump_forward_total", "counter", "Steps forward of more than 5 s."),
    Metric("varta_watch_pids_tracked", "gauge", "Senders that are tracked now."),
    Metric(
        "varta_observer_iteration_budget_exceeded_total", "counter", "Looks that took more than 250 ms.", ()
    ),
    Metric("varta_observer_iteration_seconds", "histogram", "Time of one look at all senders.", ()),
    Metric("varta_observer_stage_seconds", "histogram", "Time of one stage of a look.", ("stage",)),
    Metric("varta_prom_auth_failures_total", "counter", "Requests for metrics without the token.", ()),
    Metric(
        "varta_prom_connections_dropped_total",
        "counter",
        "Connections closed without an answer: too many, too slow, or no request.",
        ("reason",),
    ),
    Metric("varta_log_suppressed_total", "counter", "Failed writes that are counted only.", ("kind",)),
    Metric("varta_pid_max_current", "gauge", "The highest pid that the host gives.", ()),
    Metric("varta_watch_uptime_seconds", "gauge", "Time since the observer began.", ()),
    Metric(
        "varta_watch_last_poll_loop_timestamp_seconds",
        "gauge",
        "When the senders were last published, in seconds of the host's monotonic clock.",
        (),
    ),
    Metric("ktstr_beats_accepted_total", "counter", "Beats accepted of all senders."),
    Metric("ktstr_beats_out_of_order_total", "counter", "Beats whose nonce did not grow."),
    Metric("ktstr_beats_stalls_total", "counter", "Stalls of all senders."),
    Metric("ktstr_beats_recoveries_total", "counter", "Beats that ended a stall."),
    Metric(
        "ktstr_beats_received_descriptors_closed_total",
        "counter",
        "File descriptors that came with datagrams.",
    ),
    Metric(
        "ktstr_beats_unobserved_milliseconds_total",
        "counter",
        "Time without a look, not counted as silence.",
    ),
    Metric(
        "ktstr_beats_frozen_milliseconds_total",
        "counter",
        "Time that the guest was frozen, not counted as silence.",
    ),
    Metric(
        "ktstr_beats_events_dropped_total", "counter", "Events dropped because they were not fetched in time."
    ),
)


def all_metrics() -> tuple[Metric, ...]:
    """List every metric that is exported, in the order of documents."""
    return _METRICS
