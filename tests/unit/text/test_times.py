"""Times that people type."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.errors import UsageError
from ktstr_tui.text.times import typed_time


@pytest.mark.parametrize(
    ("word", "ms", "relative"),
    [
        ("83.5", 83_500, False),
        ("83.5 s", 83_500, False),
        ("1:23.5", 83_500, False),
        ("01:02:03", 3_723_000, False),
        ("500ms", 500, False),
        (".5", 500, False),
        ("-5 s", -5_000, True),
        ("+ 1:00", 60_000, True),
        ("90:00", 5_400_000, False),
        (" 2. ", 2_000, False),
    ],
)
def test_a_time_is_from_the_start_or_from_what_is_shown(word: str, ms: float, relative: bool) -> None:
    found = typed_time(word)
    assert found.ms == pytest.approx(ms)
    assert found.relative is relative


@pytest.mark.parametrize("word", ["", "x", "1:", ":5", "1:2:3:4", "1:00ms", "--5", "1e3", "nan", "٣", "5 h"])
def test_anything_else_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="cannot be read as a time"):
        typed_time(word)


@given(st.text(max_size=30))
def test_no_text_breaks_it(word: str) -> None:
    with suppress(UsageError):
        assert abs(typed_time(word).ms) < 1e17


@given(st.integers(0, 9_999), st.integers(0, 59), st.integers(0, 999))
def test_what_is_written_on_a_clock_is_read_from_it(minutes: int, seconds: int, ms: int) -> None:
    assert typed_time(f"{minutes}:{seconds:02}.{ms:03}").ms == pytest.approx(
        (minutes * 60 + seconds) * 1e3 + ms
    )
