"""A ``trace.dat`` of blocks, as trace-cmd reads it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ktstr_tui.history.run_clock import OFF_NS, RunClock
from ktstr_tui.history.trace_pages import TracePages
from ktstr_tui.model import events as ev
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.wire.codec import CodecError
from tests.unit.history.rows import block, row

S = 1_000_000_000
COMMS = {7: "fifo", 9: "spin 0"}
LINE = re.compile(
    r"\s*(?P<comm>.+)-(?P<by>\d+) +\[(?P<cpu>\d+)\] +(?P<time>\d+\.\d{9}): (?P<name>\w+): +(?P<rest>.*)"
)


def report(tmp_path: Path, *events: ev.Event) -> list[str]:
    path = tmp_path / "trace.dat"
    with TracePages(tmp_path) as pages:
        pages.take(events)
        path.write_bytes(b"".join(pages.parts()))
    assert list(tmp_path.iterdir()) == [path], "nothing else is left"
    command = ["trace-cmd", "report", "-N", "-t", "-i", str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    ).stdout.splitlines()[1:]


def said(lines: list[str]) -> list[tuple[int, int, str, str]]:
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    return [(int(it["cpu"]), int(it["time"].replace(".", "")), it["name"], it["rest"]) for it in found]


def test_every_kind_of_event_is_read_with_the_members_that_are_known(tmp_path: Path) -> None:
    rows = [
        row(5 * S, 0, "switch", 9, 7, number=0x100, prio=98),
        row(5 * S + 1, 1, "waking", 7, 9, to_cpu=1),
        row(5 * S + 2, 1, "wakeup", 7, 9, to_cpu=1),
        row(5 * S + 3, 1, "new", 12, 9, to_cpu=0),
        row(5 * S + 4, 0, "migrate", 7, 9, to_cpu=1),
        row(5 * S + 5, 0, "exit", 7, 7),
        row(5 * S + 6, 0, "enqueue", 7, 9),
        row(5 * S + 7, 0, "insert", 7, 9, number=0x8000000000000001),
        row(5 * S + 8, 0, "remove", 7, 9, number=7),
        row(5 * S + 9, 0, "move", 7, 9, to_cpu=3),
        row(5 * S + 10, 0, "kick", 0, 9, to_cpu=2),
        row(5 * S + 11, 0, "bypass", 0, 9, number=1),
        row(5 * S + 12, 0, "switch", 0, 9, number=2),
    ]
    lines = said(report(tmp_path, ev.TraceRead(block=block(rows, comms=COMMS))))
    assert [it[:2] for it in lines] == [(it.cpu, it.time_ns) for it in rows]
    assert [it[2:] for it in lines] == [
        (
            "sched_switch",
            "prev_comm=fifo prev_pid=7 prev_state=R+ ==> next_comm=spin 0 next_pid=9 next_prio=98",
        ),
        ("sched_waking", "comm=fifo pid=7 prio=120 target_cpu=001"),
        ("sched_wakeup", "comm=fifo pid=7 prio=120 target_cpu=001"),
        ("sched_wakeup_new", "comm=<...> pid=12 prio=120 target_cpu=000"),
        ("sched_migrate_task", "comm=fifo pid=7 prio=120 dest_cpu=1"),
        ("sched_process_exit", "comm=fifo pid=7 prio=120"),
        ("ktstr_enqueue", "pid=7"),
        ("ktstr_insert", "pid=7 dsq=0x8000000000000001"),
        ("ktstr_remove", "pid=7 dsq=0x7"),
        ("ktstr_move", "pid=7 cpu=3"),
        ("ktstr_kick", "cpu=2"),
        ("ktstr_bypass", "on=1"),
        (
            "sched_switch",
            "prev_comm=spin 0 prev_pid=9 prev_state=D ==> next_comm=swapper/0 next_pid=0 next_prio=120",
        ),
    ]


def test_times_survive_long_silence_and_full_pages(tmp_path: Path) -> None:
    times = [S, S + (1 << 27) - 1, S + (1 << 28), 3000 * S, *(3001 * S + 1000 * k for k in range(500))]
    rows = [row(it, 0, "switch", 9, 7) for it in times]
    lines = report(
        tmp_path, *(ev.TraceRead(block=block(rows[at : at + 100])) for at in range(0, len(rows), 100))
    )
    assert [it[1] for it in said(lines)] == times
    assert len(lines) == len(times), "nothing is said to be missing"


def test_what_was_lost_is_said_where_it_is_missing(tmp_path: Path) -> None:
    first, second, third = (
        block([row(at * S, 0, "switch", 9, 7), row(at * S + 1, 1, "switch", 9, 7)]) for at in (1, 2, 3)
    )
    lost = [
        ev.TraceRead(block=first),
        ev.TraceRead(block=replaced(second, lost={0: 41})),
        ev.TraceRead(block=replaced(third, dropped="too much")),
        ev.TraceRead(block=third),
    ]
    lines = report(tmp_path, *lost)
    at = next(k for k, line in enumerate(lines) if "41 EVENTS DROPPED" in line)
    assert "CPU:0" in lines[at]
    assert " 2.000000000:" in lines[at + 1]
    assert sum("EVENTS DROPPED" in line for line in lines[at + 1 :]) == 2, "on both CPUs"


def replaced(of: TraceBlock, **more: object) -> TraceBlock:
    fields = {name: getattr(of, name) for name in of.__struct_fields__}
    if "dropped" in more:
        fields |= {"events": 0, "data": b""}
    return TraceBlock(**{**fields, **more})


def test_after_a_restart_only_the_newest_boot_is_written_and_the_rest_counted(tmp_path: Path) -> None:
    old = ev.TraceRead(block=block([row(9 * S, 2, "switch", 9, 7)]))
    new = ev.TraceRead(block=block([row(1 * S, 0, "switch", 9, 7)]))
    restarted = ev.GuestRestarted(boot=2, reason="asked")
    assert [it[:2] for it in said(report(tmp_path, old, restarted, new))] == [(0, S)]
    with TracePages(tmp_path) as pages:
        pages.take([old, restarted, new])
        assert (pages.events, pages.left_out) == (1, 1)


def test_a_damaged_block_is_refused(tmp_path: Path) -> None:
    good = block([row(S, 0, "switch", 9, 7)])
    with TracePages(tmp_path) as pages:
        with pytest.raises(CodecError):
            pages.add(replaced(good, data=good.data[:-1]))
        with pytest.raises(CodecError, match="on CPU 60000"):
            pages.add(block([row(S, 60_000, "switch", 9, 7)]))
        with pytest.raises(CodecError, match="on CPU 60000"):
            pages.add(replaced(good, lost={60_000: 1}))


def at(now_s: float, mono_s: float) -> TraceBlock:
    return TraceBlock(begin_ns=0, end_ns=0, now_ns=round(now_s * S), mono_ns=round(mono_s * S))


def test_times_of_the_trace_are_reckoned_from_one_anchor() -> None:
    clock = RunClock()
    clock.take(at(1, 101))
    assert clock.at(S // 2) == 100.5 * S
    clock.take(at(2, 102.01))
    assert clock.at(2 * S) == 102 * S, "a tick more or less moves nothing"
    clock.take(at(3, 103 + OFF_NS * 2 / S))
    assert clock.at(3 * S) == 103 * S + 2 * OFF_NS
    assert clock.at(S) == 103 * S + 2 * OFF_NS, "never back"


def test_a_frozen_guest_has_no_time() -> None:
    clock = RunClock()
    clock.take(at(1, 101))
    clock.freeze(102 * S)
    clock.thaw(107 * S)
    clock.take(at(3, 108))
    assert [clock.at(round(it * S)) for it in (1.5, 2.5, 3)] == [101.5 * S, 107.5 * S, 108 * S]
