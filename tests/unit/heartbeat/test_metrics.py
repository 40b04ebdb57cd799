"""The exported metrics: all names and label values from the first scrape on; the server that serves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from ktstr_tui.heartbeat.metric_table import all_metrics
from ktstr_tui.heartbeat.metrics import (
    DECODE_LABELS,
    Value,
    exposition,
    histogram,
    observer_values,
    row_values,
    summed,
)
from ktstr_tui.heartbeat.metrics_server import MAX_WAITING, MetricsServer
from tests.unit.heartbeat.watching import Watch, frame

NAMES = (
    "varta_tracker_evicted_total",
    "varta_tracker_capacity_exceeded_total",
    "varta_tracker_eviction_scan_truncated_total",
    "varta_tracker_capacity",
    "varta_tracker_eviction_scan_window_max",
    "varta_tracker_namespace_conflict_total",
    "varta_tracker_pid_recycle_total",
    "varta_tracker_invariant_violations_total",
    "varta_tracker_pid_index_probe_exhausted_total",
    "varta_origin_conflict_total",
    "varta_nonce_wrap_total",
    "varta_frame_auth_failures_total",
    "varta_io_errors_total",
    "varta_ctrl_truncated_total",
    "varta_truncated_datagrams_total",
    "varta_frame_namespace_mismatch_total",
    "varta_frame_rejected_pid_above_max_total",
    "varta_frame_decrypt_failures_total",
    "varta_sender_state_full_total",
    "varta_secure_aead_attempts_total",
    "varta_secure_replay_refused_total",
    "varta_observer_clock_regression_total",
    "varta_observer_clock_jump_forward_total",
    "varta_watch_pids_tracked",
)


def both(guest: Watch, host: Watch) -> list[Value]:
    return [
        *observer_values("guest", guest.observer.statistics()),
        *observer_values("host", host.observer.statistics()),
    ]


def test_everything_is_there_before_anything_has_happened() -> None:
    text = exposition(both(Watch(), Watch()))
    for domain in ("guest", "host"):
        for name in NAMES:
            assert f'{name}{{domain="{domain}"}} ' in text
        for label in DECODE_LABELS.values():
            assert f'varta_decode_errors_total{{domain="{domain}",kind="{label}"}} 0' in text
        for reason in ("per_pid", "global"):
            assert f'varta_rate_limited_total{{domain="{domain}",reason="{reason}"}} 0' in text


def test_the_text_is_what_a_scraper_reads() -> None:
    took = histogram("varta_observer_stage_seconds")
    for seconds in (0.0005, 0.002, 0.3, 7.0):
        took.labels("poll").observe(seconds)
    values = [
        Value("varta_status", (("domain", 'a"b\\c\n'), ("pid", "7")), 3),
        Value("varta_watch_uptime_seconds", (), 1.5),
    ]
    families = {it.name: it for it in text_string_to_metric_families(exposition(values, [took]))}
    assert {name: it.type for name, it in families.items()} == {
        "varta_status": "gauge",
        "varta_watch_uptime_seconds": "gauge",
        "varta_observer_stage_seconds": "histogram",
    }
    (status,) = families["varta_status"].samples
    assert (status.labels, status.value) == ({"domain": 'a"b\\c\n', "pid": "7"}, 3)
    assert not [it for family in families.values() for it in family.samples if it.name.endswith("_created")]
    buckets = {
        it.labels["le"]: it.value
        for it in families["varta_observer_stage_seconds"].samples
        if it.name.endswith("_bucket")
    }
    assert (buckets["0.001"], buckets["0.5"], buckets["+Inf"]) == (1, 3, 4)


def test_a_metric_that_is_in_no_list_is_refused() -> None:
    with pytest.raises(KeyError, match="varta_made_up_total"):
        exposition([Value("varta_made_up_total", (), 1)])


def test_the_list_says_what_each_metric_is() -> None:
    metrics = all_metrics()
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names))
    assert {name for name in NAMES if name not in names} == set()
    for metric in metrics:
        assert metric.help.endswith(".")
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.name.startswith(("varta_", "ktstr_"))


def test_counts_of_both_domains_are_summed_for_the_stream() -> None:
    guest, host = Watch(), Watch()
    guest.guest(b"\xff" * 32, frame(7, 1))
    host.guest(b"\xff" * 32, b"\xff" * 32)
    sums = summed(both(guest, host))
    assert sums['varta_decode_errors_total{kind="bad_magic"}'] == 3
    assert sums["ktstr_beats_accepted_total"] == 1
    assert "varta_nonce_wrap_total" not in sums


def test_each_sender_is_exported_with_its_state() -> None:
    watch = Watch()
    watch.guest(frame(7, 1), frame(7, 2), frame(4194304, 1))
    watch.pass_ms(1000)
    watch.look()
    values = row_values("guest", watch.observer.rows(9), {4194304: 1})
    found = {(value.name, dict(value.labels)["pid"]): value.value for value in values}
    assert found[("varta_beats_total", "7")] == 2
    assert found[("varta_status", "7")] == 3
    assert found[("varta_stalls_total", "1")] == 1


async def ask(port: int, request: bytes) -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(request)
        answer = b""
        while part := await stream.receive_some(65536):
            answer += part
    return answer


async def test_only_who_knows_the_token_is_answered(nursery: trio.Nursery, tmp_path: Path) -> None:
    bodies = iter(["one", "two", "three"])
    now = [0.0]
    server = MetricsServer(lambda: next(bodies), clock=lambda: now[0])
    server.write_token(tmp_path / "t")
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    port = await nursery.start(server.run)
    token = (tmp_path / "t").read_text().strip().encode()
    good = b"GET /metrics HTTP/1.1\r\nHost: x\r\nauthorization: Bearer " + token + b"\r\n\r\n"
    assert (await ask(port, good)).endswith(b"\r\n\r\none")
    assert (await ask(port, good)).endswith(b"\r\n\r\none"), "asked again within a second"
    now[0] += 1
    assert (await ask(port, good)).endswith(b"\r\n\r\ntwo")
    for bad in (good.replace(token, token[:-1] + b"!"), b"GET /metrics HTTP/1.1\r\n\r\n"):
        assert (await ask(port, bad)).startswith(b"HTTP/1.1 401 ")
    assert (await ask(port, good.replace(b"/metrics", b"/etc"))).startswith(b"HTTP/1.1 404 ")
    assert (await ask(port, b"x" * 5000)) == b""
    stats = server.statistics()
    assert (stats.served, stats.auth_failures, stats.dropped) == (3, 2, 1)
    assert len(server.token) == 64


async def test_idle_clients_keep_nobody_out(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    server = MetricsServer(lambda: "body")
    port = await nursery.start(server.run)
    good = b"GET /metrics HTTP/1.1\r\nAuthorization: Bearer " + server.token.encode() + b"\r\n\r\n"
    idle = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(300)]
    await trio.testing.wait_all_tasks_blocked()
    started_s = trio.current_time()
    assert (await ask(port, good)).endswith(b"\r\n\r\nbody")
    assert trio.current_time() == started_s, "answered without a wait"
    stats = server.statistics()
    assert (stats.served, stats.dropped) == (1, 300 - MAX_WAITING + 1)
    await trio.sleep(3)
    assert server.statistics().dropped == 300, "those that were left had their time"
    for stream in idle:
        await stream.aclose()
