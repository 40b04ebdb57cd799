"""Text of the guest in the state: however long it is, the state stays small."""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import MAX_LINE_CHARS, MAX_LOG_LINES, RunState


def test_a_line_without_an_end_is_broken_and_nothing_of_it_is_lost() -> None:
    state = RunState()
    for seq in range(1, 30):
        fold(state, ev.OutputText(seq=seq, stream="stdout", text=f"{seq % 10}" * 3000))
    lines = [line.text for line in state.output]
    assert max(map(len, lines)) <= MAX_LINE_CHARS
    shown = "".join(lines) + state.partial.get("stdout", "")
    assert shown == "".join(f"{seq % 10}" * 3000 for seq in range(1, 30))


def test_output_costs_a_bounded_amount_of_memory() -> None:
    state = RunState()
    for seq in range(1, 201):
        fold(state, ev.OutputText(seq=seq, stream="stdout", text="\t" * 16_384))
    assert len(state.output) == MAX_LOG_LINES
    assert sum(len(line.text) for line in state.output) <= MAX_LOG_LINES * MAX_LINE_CHARS
    assert len(state.partial.get("stdout", "")) <= MAX_LINE_CHARS
    assert state.forgotten["output"] > 0


def test_an_empty_line_is_a_line() -> None:
    state = fold(RunState(), ev.OutputText(seq=1, stream="stdout", text="a\n\nb\n"))
    assert [line.text for line in state.output] == ["a", "", "b"]


def test_a_long_line_of_the_log_is_cut_and_says_so() -> None:
    text = "x" * (MAX_LINE_CHARS + 5)
    state = fold(RunState(), ev.Logged(seq=1, severity="info", source="test", text=text))
    assert state.log[0].text == "x" * MAX_LINE_CHARS + "… (5 characters more)"
