"""The exported metrics: all names and label values from the first scrape on; the server that serves them."""

from __future__ import annotations

import re
from pathlib import Path

import trio
import trio.testing

from ktstr_tui.heartbeat.histogram import Histogram
from ktstr_tui.heartbeat.metrics import DECODE_LABELS, Value, exposition, observer_values, row_values, summed
from ktstr_tui.heartbeat.metrics_server import MAX_CLIENTS, MetricsServer
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
    text = exposition(both(Watch(), Watch()), {})
    for domain in ("guest", "host"):
        for name in NAMES:
            assert f'{name}{{domain="{domain}"}} ' in text
        for label in DECODE_LABELS.values():
            assert f'varta_decode_errors_total{{domain="{domain}",kind="{label}"}} 0' in text
        for reason in ("per_pid", "global"):
            assert f'varta_rate_limited_total{{domain="{domain}",reason="{reason}"}} 0' in text


def test_the_text_is_as_the_format_wants_it() -> None:
    histogram = Histogram()
    for seconds in (0.0005, 0.002, 0.3, 7.0):
        histogram.observe(seconds)
    values = [
        Value("varta_status", (("pid", "7"), ("comm", 'a"b\\c\n')), 3),
        Value("varta_watch_uptime_seconds", (), 1.5),
    ]
    text = exposition(values, {("varta_observer_iteration_seconds", ()): histogram})
    assert text.endswith("\n")
    line = re.compile(
        r"# TYPE [a-z_]+ (counter|gauge|histogram)|"
        r'[a-z_]+(\{[a-z_]+="(\\[\\"n]|[^"\\\n])*"(,[a-z_]+="(\\[\\"n]|[^"\\\n])*")*\})? [0-9.e+-]+'
    )
    assert all(line.fullmatch(it) for it in text.splitlines()), text
    assert "# TYPE varta_status gauge" in text
    assert 'varta_observer_iteration_seconds_bucket{le="0.001"} 1' in text
    assert 'varta_observer_iteration_seconds_bucket{le="0.5"} 3' in text
    assert 'varta_observer_iteration_seconds_bucket{le="+Inf"} 4' in text
    assert "varta_observer_iteration_seconds_count 4" in text
    names = [it.split()[2] for it in text.splitlines() if it.startswith("#")]
    assert len(names) == len(set(names)), "one TYPE line for each metric"


def test_counts_of_both_domains_are_summed_for_the_stream() -> None:
    guest, host = Watch(), Watch()
    guest.guest(b"\xff" * 32, frame(7, 1))
    host.guest(b"\xff" * 32, b"\xff" * 32)
    sums = summed(both(guest, host))
    assert sums['varta_decode_errors_total{kind="bad_magic"}'] == 3
    assert sums["varta_beats_accepted_total"] == 1
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


async def ask(server: MetricsServer, request: bytes) -> bytes:
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
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
    await nursery.start(server.run)
    token = (tmp_path / "t").read_text().strip().encode()
    good = b"GET /metrics HTTP/1.1\r\nHost: x\r\nauthorization: Bearer " + token + b"\r\n\r\n"
    assert (await ask(server, good)).endswith(b"\r\n\r\none")
    assert (await ask(server, good)).endswith(b"\r\n\r\none"), "asked again within a second"
    now[0] += 1
    assert (await ask(server, good)).endswith(b"\r\n\r\ntwo")
    for bad in (good.replace(token, token[:-1] + b"!"), b"GET /metrics HTTP/1.1\r\n\r\n"):
        assert (await ask(server, bad)).startswith(b"HTTP/1.1 401 ")
    assert (await ask(server, good.replace(b"/metrics", b"/etc"))).startswith(b"HTTP/1.1 404 ")
    assert (await ask(server, b"x" * 5000)) == b""
    stats = server.statistics()
    assert (stats.served, stats.auth_failures, stats.dropped) == (3, 2, 1)
    assert len(server.token) == 64


async def test_idle_clients_keep_nobody_out_for_long(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    server = MetricsServer(lambda: "body")
    await nursery.start(server.run)
    idle = [await trio.open_tcp_stream("127.0.0.1", server.port) for _ in range(MAX_CLIENTS)]
    await trio.testing.wait_all_tasks_blocked()
    assert await ask(server, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    await trio.sleep(3)
    assert (await ask(server, b"GET /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
    assert server.statistics().dropped == MAX_CLIENTS + 1
    for stream in idle:
        await stream.aclose()
