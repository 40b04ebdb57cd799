"""A scheduler's programs and variables: rates from two looks, and how they are shown."""

from __future__ import annotations

import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.model.scheduler_values import (
    BpfProgram,
    BpfVariable,
    SchedulerValues,
    program_rates,
    variable_rates,
)
from ktstr_tui.model.state import RunState
from ktstr_tui.text.value_lines import NOT_READ, printed_values, values_json
from ktstr_tui.tui.scheduler import scheduler_lines


def look(
    clock_ms: float, runs: int | None, enqueued: int | str, *, counted: bool | None = True, id_: int = 7
) -> SchedulerValues:
    run_ns = None if runs is None else runs * 2_000
    variables = (
        BpfVariable(map_id=3, section=".bss", name="nr_enqueued", value=enqueued),
        BpfVariable(map_id=3, section=".bss", name="armed", value=True),
        BpfVariable(map_id=4, section=".rodata", name="slice_ns", value=5_000_000),
    )
    program = BpfProgram(id=id_, name="fifo_enqueue", runs=runs, run_ns=run_ns, misses=0)
    return SchedulerValues(clock_ms=clock_ms, counted=counted, programs=(program,), variables=variables)


def state_of(*looks: SchedulerValues) -> RunState:
    state = RunState(scheduler=SchedulerSample(name="fifo"))
    for at, values in enumerate(looks, 1):
        fold(state, ev.SchedulerValuesRead(seq=at, mono_ns=at, values=values))
    return state


def test_rates_are_differences_by_the_guests_time() -> None:
    before, now = look(1_000, 100, 50), look(3_000, 500, 30)
    rate = program_rates(now, before)[7]
    assert (rate.runs_per_s, rate.run_ns) == (200.0, 2_000.0)
    assert rate.cpu_share == pytest.approx(0.0004)
    assert variable_rates(now, before) == {(3, "nr_enqueued"): -10.0}


@pytest.mark.parametrize(
    "before",
    [None, look(3_000, 100, 50), look(4_000, 100, 50), look(1_000, None, "x"), look(1_000, 100, "x", id_=8)],
)
def test_there_is_no_rate_without_the_same_at_an_earlier_time(before: SchedulerValues | None) -> None:
    now = look(3_000, 500, 30)
    assert program_rates(now, before) == {}
    assert variable_rates(now, before) == {}


def test_the_panel_shows_programs_and_variables_with_their_rates() -> None:
    state = state_of(look(1_000, 100, 50), look(2_000, 500, 1_050))
    rows = ["".join(text for text, _ in line) for line in scheduler_lines(state, 46)]
    assert next(row for row in rows if "fifo_enqueue" in row).split() == [
        "fifo_enqueue",
        "400",
        "2",
        "µs",
        "0.1",
    ]
    assert next(row for row in rows if "nr_enqueued" in row).split() == ["nr_enqueued", "1050", "+1000"]
    assert next(row for row in rows if "armed" in row).split() == ["armed", "true"]
    assert all(len(row) <= 46 for row in rows)
    assert rows.index(next(row for row in rows if ".bss" in row)) < rows.index(
        next(row for row in rows if ".rodata" in row)
    )


def test_without_counting_it_says_what_to_do() -> None:
    shown = "\n".join(printed_values(state_of(look(1_000, None, 1, counted=False))))
    assert "1 BPF program" in shown
    assert "not counted: start the run with --bpf-stats" in shown
    assert "nr_enqueued" in shown
    assert "not counted by this kernel" in "\n".join(
        printed_values(state_of(look(1_000, None, 1, counted=None)))
    )


def test_json_has_what_was_read_and_rates_that_are_known() -> None:
    first = values_json(state_of(look(1_000, 100, 50)))
    assert first["programs"][0]["runs_per_s"] is None
    assert [it["per_s"] for it in first["variables"]] == [None, None, None]
    second = values_json(state_of(look(1_000, 100, 50), look(2_000, 100, 50)))
    assert second["programs"][0]["runs_per_s"] == 0.0
    assert second["programs"][0]["run_ns_each"] is None
    assert [(it["name"], it["value"], it["per_s"]) for it in second["variables"]] == [
        ("nr_enqueued", 50, 0.0),
        ("armed", True, None),
        ("slice_ns", 5_000_000, 0.0),
    ]


def test_nothing_is_shown_of_a_scheduler_that_is_gone_and_what_is_left_out_is_said() -> None:
    assert printed_values(state_of(look(1_000, 1, 1), SchedulerValues())) == [NOT_READ]
    assert printed_values(RunState()) == [NOT_READ]
    cut = SchedulerValues(
        programs=look(1, 1, 1).programs,
        counted=True,
        more_programs=1,
        variables=look(1, 1, 1).variables,
        more_variables=40,
        unreadable="no memory",
    )
    shown = printed_values(state_of(cut))
    assert [it for it in shown if it.startswith(("…", "unreadable"))] == [
        "… 1 other program",
        "… 40 other variables",
        "unreadable: no memory",
    ]
