"""How fast a run's time passes: made-up clocks, no sleeping."""

from __future__ import annotations

from msgspec.structs import replace

from ktstr_tui.tui.bars import HeaderBar
from ktstr_tui.tui.pace import LEAST_NS, SPAN_NS, Pace
from ktstr_tui.tui.view import View
from tests.tui.fakes import FakeSource
from tests.tui.story import Story

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now_ns = 5 * SPAN_NS

    def __call__(self) -> int:
        return self.now_ns


def looked(pace: Pace, clock: Clock, run_ns: int, speed: float, ms: int) -> tuple[int, list[float | None]]:
    seen = []
    for _ in range(ms // 100):
        clock.now_ns += 100 * MS
        run_ns += round(100 * MS * speed)
        seen.append(pace.look(run_ns))
    return run_ns, seen


def test_it_is_told_after_a_second_and_forgets_what_is_past() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.look(0) is None
    run_ns, seen = looked(pace, clock, 0, 0.5, 4000)
    first = LEAST_NS // (100 * MS) - 1
    assert seen[:first] == [None] * first
    assert set(seen[first:]) == {0.5}
    run_ns, seen = looked(pace, clock, run_ns, 2.0, SPAN_NS // MS + 200)
    assert seen[-1] == 2.0
    assert None not in seen


def test_another_run_starts_afresh() -> None:
    clock = Clock()
    pace = Pace(clock)
    looked(pace, clock, SPAN_NS, 1.0, 2000)
    clock.now_ns += 100 * MS
    assert pace.look(0) is None


def header(seed: int | None, width: int) -> str:
    source = FakeSource(Story().until(20))
    assert source.state.info is not None
    source.state.info = replace(source.state.info, seed=seed)
    view, clock = View(source), Clock()
    view.pace = Pace(clock)
    looked(view.pace, clock, source.state.mono_ns - 2 * SPAN_NS, 2.0, SPAN_NS // MS)
    return "".join(text for text, _ in HeaderBar("header").lines(view, width)[0])


def test_only_a_run_with_a_seed_shows_it() -> None:
    assert "  ×2.0 of real time  ● live" in header(7, 120)
    assert "  ×2.0  ● live" in header(7, 90)
    assert "×" not in header(None, 120)
