"""Lines, gauges and words, without a terminal."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from ktstr_tui.model.report import SLICE_INF, NextTask, Pause, RunningTask, placeholder
from ktstr_tui.text import words
from ktstr_tui.text.cause import headline
from ktstr_tui.text.lines import cut, fit, gauge, sparkline, spread, width_of, wrap
from tests.tui.story import Story


@given(st.text(), st.integers(0, 40), st.sampled_from(["left", "right"]))
def test_fit_gives_exactly_the_width(text: str, width: int, align: str) -> None:
    printable = "".join(char for char in text if char.isprintable())
    assert cell_len(fit(printable, width, "right" if align == "right" else "left")) == width


@given(st.lists(st.none() | st.floats(-10, 1e9), max_size=80), st.integers(0, 60))
def test_sparkline_has_its_width_and_gaps_where_nothing_was_read(
    values: list[float | None], width: int
) -> None:
    drawn = sparkline(values, width)
    assert len(drawn) == width
    shown = values[-width:] if width else []
    assert [char == " " for char in drawn[width - len(shown) :]] == [value is None for value in shown]


def test_sparkline_tells_zero_from_unknown_and_from_not_yet() -> None:
    assert sparkline([0, None, 7], 5) == "··▁ ▇"


@given(st.floats(-1, 2), st.integers(1, 50))
def test_gauge_fills_its_width(share: float, width: int) -> None:
    filled, rest = gauge(share, width)
    assert len(filled + rest) == width
    assert filled.strip() == filled


def test_gauge_is_full_at_one() -> None:
    assert gauge(1.0, 4) == ("████", "")
    assert gauge(0.5, 4) == ("██", "  ")


@given(st.text("abc 019smCPU", max_size=200), st.integers(4, 40))
def test_wrap_loses_nothing_and_fits(text: str, width: int) -> None:
    parts = wrap(text, width)
    assert all(cell_len(part) <= width for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


@given(st.text("abc 019smCPU", max_size=200), st.integers(4, 40), st.integers(4, 40), st.integers(1, 4))
def test_wrap_has_a_first_line_of_its_own_and_marks_what_is_left_out(
    text: str, width: int, first: int, most: int
) -> None:
    whole = wrap(text, width, first=first)
    assert all(
        cell_len(part) <= room for part, room in zip(whole, [first, *[width] * len(whole)], strict=False)
    )
    assert "".join(whole).replace(" ", "") == text.replace(" ", "")
    some = wrap(text, width, first=first, most=most)
    assert some[: most - 1] == whole[: most - 1]
    assert len(some) == min(most, len(whole))
    assert some[-1].endswith("…") is (len(whole) > most)


def test_wrap_keeps_a_number_and_its_unit_together() -> None:
    assert wrap("runnable for 4.1 s", 16) == ["runnable for", "4.1 s"]


def test_spread_drops_the_right_side_when_there_is_no_room() -> None:
    assert width_of(spread([("left", "")], [("right", "")], 20)) == 20
    assert spread([("left", "")], [("right", "")], 8) == [("left", "")]


def test_cut_marks_what_it_cut() -> None:
    assert cut("scheduler", 6) == "sched…"
    assert cut("scheduler", 9) == "scheduler"


def test_absent_is_not_zero() -> None:
    assert [words.number(None), words.number(0)] == ["–", "0"]
    assert [words.hexadecimal(None), words.hexadecimal(0)] == ["–", "0x0"]
    assert words.milliseconds(None) == "–"
    assert words.size(None) == "–"
    assert words.queue(None) == "in no DSQ"


def test_durations_keep_two_or_three_digits() -> None:
    found = [words.milliseconds(value) for value in (0.25, 8.42, 460, 4100, 65_000, 3_720_000)]
    assert found == ["250 µs", "8.4 ms", "460 ms", "4.1 s", "1 min 05 s", "1 h 02 min"]
    assert words.uptime(65 * 10**9) == "01:05"
    assert words.uptime(7265 * 10**9) == "2:01:05"


def test_numbers_and_sizes_stay_short() -> None:
    assert [words.number(value) for value in (99_999, 123_456, 45_600_000)] == ["99999", "123.5k", "45.6M"]
    assert [words.size(value) for value in (512, 2048, 512 << 20)] == ["512 B", "2.0 KiB", "512.0 MiB"]


def test_the_stalled_sentence_answers_what_maintainers_ask() -> None:
    sentence = headline(Story().report())
    assert sentence == (
        "spin-1[201] runnable for 4.100 s in DSQ 0x7, allowed CPUs 0-1, running there: cpu 0 idle, cpu 1 idle"
    )


def test_the_class_that_occupies_the_cpu_is_named() -> None:
    assert words.running((RunningTask(cpu=0, pid=9, comm="burn", sched_class="rt"),)) == "cpu 0 burn[9] (rt)"


def test_the_task_that_a_higher_class_displaced_is_named() -> None:
    agent = RunningTask(cpu=1, pid=1, comm="ktstr-agent", sched_class="rt")
    for slice_ns, words_of in ((SLICE_INF, "ext, infinite slice"), (20_000_000, "ext"), (None, "ext")):
        behind = NextTask(pid=105, comm="spin-2", slice_ns=slice_ns)
        line = words.running((msgspec.structs.replace(agent, ahead_of=behind),))
        assert line == f"cpu 1 ktstr-agent[1] (rt) ahead of spin-2[105] ({words_of})"


def test_a_placeholder_says_why_nothing_is_there() -> None:
    assert headline(placeholder("key-001", "on-demand", "no answer in 3 s")) == (
        "Nothing was captured: no answer in 3 s"
    )


def test_pause_parts_leave_out_what_was_not_measured() -> None:
    text = words.pause_parts(Pause(total_us=8420, registers_us=310, memory_us=7650))
    assert text == "paused 8.4 ms (registers 310 µs · memory 7.7 ms)"
    assert words.pause_parts(None) == "pause not measured"
