"""Which vCPUs run: what gdb and lldb send, and what is no way to run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.debug.vcont import parse_thread, parse_vcont
from ktstr_tui.model.errors import UsageError


@pytest.mark.parametrize(
    ("text", "how", "actions"),
    [
        (";c", Resume(), "c"),
        (";c:-1", Resume(), "c"),
        (";C05:2;c", Resume(), "c"),
        (";s:1", Resume(vcpu=0, step=True, alone=True), "s:1"),
        (";s:2;c", Resume(vcpu=1, step=True), "s:2;c"),
        (";S05:p1.2;c:p1.-1", Resume(vcpu=1, step=True), "s:2;c"),
        (";c:2", Resume(vcpu=1, alone=True), "c:2"),
        (";c:1;c:2;c:3;c:4", Resume(), "c"),
    ],
)
def test_actions(text: str, how: Resume, actions: str) -> None:
    assert parse_vcont(text, 4) == how
    assert how.actions() == actions


@pytest.mark.parametrize("text", ["", ";", ";s", ";s:1;s:2", ";x", ";c:9", ";c:1;c:2", ";c:zz", ";r0,1:1"])
def test_what_cannot_be_had_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_vcont(text, 4)


@given(st.text(max_size=30), st.integers(1, 4))
def test_nothing_else_comes_out_than_a_way_to_run_or_a_refusal(text: str, vcpus: int) -> None:
    try:
        how = parse_vcont(text, vcpus)
    except UsageError:
        return
    assert how.vcpu is None or 0 <= how.vcpu < vcpus


def test_threads_are_vcpus_from_one() -> None:
    assert [parse_thread(text, 4) for text in ("1", "4", "0", "-1", "p1.2")] == [0, 3, None, None, 1]
    for text in ("5", "", "x", "-2"):
        with pytest.raises(UsageError):
            parse_thread(text, 4)
