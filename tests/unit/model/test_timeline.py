"""Timelines, against machines of which everything is known."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.moments import Moment
from ktstr_tui.model.text import task_name
from ktstr_tui.model.timeline import UNKNOWN, Timeline, timeline_of
from ktstr_tui.model.trace_block import TraceBlock, TraceRow
from ktstr_tui.text.lines import text_of, width_of
from ktstr_tui.text.timeline_lines import LABEL, Letters, Look, rows, ruler

MS = 1_000_000
BEGIN = 1000 * MS
MOVES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 4), st.sampled_from([0, 1, 0x100]), st.integers(1, 40)),
    min_size=1,
    max_size=60,
)


def block(begin_ns: int, end_ns: int, **more: object) -> TraceBlock:
    return TraceBlock(begin_ns=begin_ns, end_ns=end_ns, now_ns=end_ns, mono_ns=end_ns, **more)  # type: ignore[arg-type]


class Machine:
    """Two CPUs that switch between tasks; keeps who really ran."""

    def __init__(self, moves: list[tuple[int, int, int, int]]) -> None:
        self.rows: list[TraceRow] = []
        self.ran: list[tuple[int, int, int, int]] = []
        running, since, now = {0: 0, 1: 0}, {0: BEGIN, 1: BEGIN}, BEGIN
        for cpu, pid, state, ms in moves:
            now += ms * MS
            if pid == running[cpu] or (pid and pid in running.values()):
                continue
            self.ran.append((cpu, running[cpu], since[cpu], now))
            self.rows.append(TraceRow(now, cpu, "switch", pid, running[cpu], state, 0, 120))
            running[cpu], since[cpu] = pid, now
        self.end = now + MS
        self.ran += [(cpu, running[cpu], since[cpu], self.end) for cpu in running]

    def blocks(self, cuts: list[int]) -> list[tuple[TraceBlock, list[TraceRow]]]:
        """The events as blocks, cut at some of them."""
        ends = sorted({BEGIN + cut * MS for cut in cuts if BEGIN + cut * MS < self.end} | {self.end})
        found, begin = [], BEGIN
        for end in ends:
            inside = [row for row in self.rows if begin < row.time_ns <= end or begin == row.time_ns == BEGIN]
            found.append((block(begin, end, events=len(inside)), inside))
            begin = end
        return found


@given(moves=MOVES, cuts=st.lists(st.integers(1, 2000), max_size=6))
def test_lanes_are_who_really_ran_however_the_events_came_in_blocks(
    moves: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    machine = Machine(moves)
    line = timeline_of(machine.blocks(cuts))
    switched = {cpu for cpu, *_ in ((row.cpu, row) for row in machine.rows)}
    for cpu in switched:
        seen = [(it.pid, it.from_ns, it.to_ns) for it in line.stretches(cpu, BEGIN, machine.end)]
        assert seen == [(pid, start, end) for c, pid, start, end in machine.ran if c == cpu and end > start]
    wanted: Counter[int] = Counter()
    for cpu, pid, start, end in machine.ran:
        if cpu in switched:
            wanted[pid] += end - start
    assert {pid: ns for pid, ns in line.run_times(0, machine.end).items() if ns} == {
        p: n for p, n in wanted.items() if n
    }


@given(moves=MOVES, width=st.integers(1, 50))
def test_cells_add_up_and_name_the_task_that_had_most(
    moves: list[tuple[int, int, int, int]], width: int
) -> None:
    machine = Machine(moves)
    line = timeline_of(machine.blocks([]))
    for cpu in line.cpus:
        edges = [BEGIN + (machine.end - BEGIN) * k // width for k in range(width + 1)]
        for k, cell in enumerate(line.cells(cpu, BEGIN, machine.end, width)):
            sums: Counter[int] = Counter()
            for c, pid, start, end in machine.ran:
                if c == cpu:
                    sums[pid] += max(0, min(end, edges[k + 1]) - max(start, edges[k]))
            assert cell is not None
            assert sums[cell.pid] == max(sums.values())
            assert 0 < cell.share <= 1


@given(moves=MOVES)
def test_the_next_event_and_the_one_before_are_the_neighbours(moves: list[tuple[int, int, int, int]]) -> None:
    machine = Machine(moves)
    line = timeline_of(machine.blocks([]))
    for pid in range(1, 5):
        times = [row.time_ns for row in machine.rows if pid in (row.pid, row.other)]
        at = BEGIN
        for time in times:
            found = line.next_event(pid, at, 1)
            assert found is not None
            assert (found.time_ns, at) == (time, at)
            at = time
        assert line.next_event(pid, at, 1) is None
        back = line.next_event(pid, at, -1)
        assert (None if back is None else back.time_ns) == (times[-2] if len(times) > 1 else None)


def test_a_task_runs_waits_and_sleeps() -> None:
    made = [
        TraceRow(BEGIN + 10 * MS, 0, "wakeup", 7, 1, 0, 1, 120),
        TraceRow(BEGIN + 20 * MS, 1, "switch", 7, 0, 0, 0, 120),
        TraceRow(BEGIN + 30 * MS, 1, "switch", 8, 7, 0x100, 0, 120),
        TraceRow(BEGIN + 40 * MS, 1, "switch", 7, 8, 1, 0, 120),
        TraceRow(BEGIN + 50 * MS, 1, "switch", 0, 7, 1, 0, 120),
    ]
    line = timeline_of([(block(BEGIN, BEGIN + 60 * MS), made)])
    cells = line.state_cells(7, BEGIN, BEGIN + 80 * MS, 8)
    assert cells == ["unknown", "waits", "runs", "waits", "runs", "sleeps", None, None]


def test_those_that_wait_are_wanted_as_much_as_those_that_run() -> None:
    made = [
        TraceRow(BEGIN + 10 * MS, 0, "wakeup", 9, 1, 0, 1, 120),
        TraceRow(BEGIN + 10 * MS, 0, "insert", 9, 1, 0, 1, 120),
        TraceRow(BEGIN + 15 * MS, 0, "wakeup", 7, 1, 0, 1, 120),
        TraceRow(BEGIN + 20 * MS, 1, "switch", 7, 0, 0, 0, 120),
        TraceRow(BEGIN + 40 * MS, 1, "switch", 8, 7, 0x100, 0, 120),
        TraceRow(BEGIN + 65 * MS, 1, "switch", 0, 8, 1, 0, 120),
    ]
    line = timeline_of([(block(BEGIN, BEGIN + 70 * MS), made)])
    # 9 has waited for 60 ms; 7 ran for 20 and has waited for 30; 8 ran for 25 and sleeps.
    assert line.most_wanted(BEGIN, BEGIN + 70 * MS) == [9, 7, 8]
    # Of a later span only what lies in it counts, but a wait goes on.
    assert line.most_wanted(BEGIN + 60 * MS, BEGIN + 70 * MS) == [7, 9, 8]
    assert line.most_wanted(BEGIN + 12 * MS, BEGIN + 14 * MS) == [9]


def test_what_was_lost_or_not_kept_is_unknown_and_not_guessed() -> None:
    one = (block(BEGIN, BEGIN + 10 * MS), [TraceRow(BEGIN + 5 * MS, 0, "switch", 7, 0, 0, 0, 120)])
    nothing: list[TraceRow] = []
    lost = (block(BEGIN + 10 * MS, BEGIN + 20 * MS, lost={0: 3}), nothing)
    gap = (block(BEGIN + 30 * MS, BEGIN + 40 * MS), [TraceRow(BEGIN + 35 * MS, 0, "switch", 9, 8, 1, 0, 120)])
    line = timeline_of([one, lost, gap])
    seen = [(it.pid, (it.from_ns - BEGIN) // MS) for it in line.stretches(0, BEGIN, BEGIN + 40 * MS)]
    assert [pid for pid, _ in seen] == [0, 7, *[UNKNOWN] * (len(seen) - 3), 9]
    assert seen[2] == (UNKNOWN, 10)
    dropped = timeline_of([one, (block(BEGIN + 10 * MS, BEGIN + 20 * MS, dropped="not recorded: why"), [])])
    assert dropped.unknown == "not recorded: why"
    found = dropped.stretch(0, BEGIN + 15 * MS)
    assert found is not None
    assert found.pid == UNKNOWN


def test_what_a_task_does_across_a_gap_is_not_known() -> None:
    waits = [TraceRow(BEGIN + 2 * MS, 0, "wakeup", 7, 1, 0, 1, 120)]
    runs = [TraceRow(BEGIN + 35 * MS, 1, "switch", 7, 0, 0, 0, 120)]
    line = timeline_of(
        [(block(BEGIN, BEGIN + 10 * MS), waits), (block(BEGIN + 30 * MS, BEGIN + 40 * MS), runs)]
    )
    assert line.state_cells(7, BEGIN, BEGIN + 40 * MS, 8) == [
        "waits", "waits", "unknown", "unknown", "unknown", "unknown", "unknown", "runs"
    ]  # fmt: skip
    nothing: list[TraceRow] = []
    lost = timeline_of(
        [
            (block(BEGIN, BEGIN + 10 * MS), waits),
            (block(BEGIN + 10 * MS, BEGIN + 20 * MS, lost={0: 3}), nothing),
        ]
    )
    assert lost.state_cells(7, BEGIN, BEGIN + 20 * MS, 4) == ["waits", "waits", "unknown", "unknown"]
    assert 7 not in lost.most_wanted(BEGIN, BEGIN + 20 * MS)


def test_a_moment_of_the_host_is_one_of_the_trace_also_around_a_freeze() -> None:
    line = Timeline()
    for now, mono in ((100, 1000), (200, 1100), (210, 5110)):
        line.add(TraceBlock(begin_ns=now - 10, end_ns=now, now_ns=now, mono_ns=mono), [])
    assert [line.trace_ns(mono) for mono in (950, 1000, 1050, 1100, 3000, 5110, 5200)] == [
        50,
        100,
        150,
        200,
        200,
        210,
        300,
    ]


def test_it_is_drawn_in_80_columns_without_colours() -> None:
    made = [
        TraceRow(BEGIN + 500 * MS, 0, "switch", 7, 8, 0, 0, 120),
        TraceRow(BEGIN + 750 * MS, 1, "switch", 9, 0, 0, 0, 10),
    ]
    line = timeline_of([(block(BEGIN, BEGIN + 1000 * MS, comms={7: "spin", 8: "old", 9: "agent"}), made)])
    moments = [Moment(1, BEGIN + 250 * MS, "capture", "error-001")]
    look = Look(BEGIN, BEGIN + 1000 * MS, BEGIN + 600 * MS, BEGIN + 1000 * MS, (7,))
    lines = [text_of(row.line) for row in rows(line, moments, look, Letters(), 80)]
    assert all(width_of(row.line) <= 80 for row in rows(line, moments, look, Letters(), 80))
    head = text_of(ruler(look, 80))
    assert head[LABEL + 38] == "▼"
    assert "╵-0.6 " in head
    assert lines[0][LABEL + 16] == "C"
    assert lines[1] == f"{'cpu 0':{LABEL}}" + "a" * 32 + "b" * 6 + "b" + "b" * 25
    assert lines[2] == f"{'cpu 1':{LABEL}}" + "·" * 48 + "A" * 16
    assert lines[3] == f"{'spin[7]':{LABEL}}" + "?" * 32 + "█" * 32
    text = "\n".join(lines)
    assert f"{task_name('spin', 7)}  " in text
    assert "-0.500000 to +0.000000 s, 500.0000 ms" in text
    assert "T thawed  + several" in text
    assert "at -0.400000 s   trace clock 1.600000 s" in text
    assert "A agent[9] 25 %" in text
