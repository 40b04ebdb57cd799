"""The console: lines, panics, and a guest that prints to do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest import console as console_module
from ktstr_tui.guest.console import MAX_LINE_CHARS, TAIL_LINES, Console, clean


def test_lines_are_cleaned_and_the_log_is_exact(tmp_path: Path) -> None:
    raw = b"[    0.1] \x1b[1;31mred\x1b[0m\ttab\r\n\x1b]0;title\x07plain \xff\nhalf"
    with Console(tmp_path / "log") as console:
        assert console.feed(raw[:20]) == []
        assert console.feed(raw[20:]) == ["[    0.1] red tab", "plain \N{REPLACEMENT CHARACTER}"]
        assert console.tail() == ("[    0.1] red tab", "plain \N{REPLACEMENT CHARACTER}", "half")
        assert console.tail(1) == ("half",)
    assert (tmp_path / "log").read_bytes() == raw
    assert console.tail(1) == ("half",)


def test_the_first_panic_is_remembered() -> None:
    console = Console(None)
    console.feed(b"[1.0] Kernel panic - not syncing: sysrq trig")
    assert console.panic is None
    console.feed(b"gered crash\n---[ end Kernel panic - not syncing: other ]---\n")
    assert console.panic == "sysrq triggered crash"


def test_userspace_is_noticed() -> None:
    console = Console(None)
    console.feed(b"[    1.98] Run /init as init process\n")
    assert console.userspace.is_set()


def test_endless_lines_and_many_lines_are_bounded() -> None:
    console = Console(None)
    for _ in range(50):
        console.feed(b"x" * 10_000)
    console.feed(b"\n" + b"line\n" * (2 * TAIL_LINES))
    assert len(console.tail()) == TAIL_LINES
    assert max(map(len, console.tail())) <= MAX_LINE_CHARS + 2
    assert console.statistics().lines_cut >= 50


def test_the_log_stops_at_its_largest_size_and_counts_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_module, "MAX_LOG_BYTES", 3 << 20)
    with Console(tmp_path / "log") as console:
        block = bytes(1 << 20)
        for _ in range(5):
            console.feed(block)
        assert console.statistics().log_bytes_dropped == 2 << 20
    assert (tmp_path / "log").stat().st_size == 3 << 20


def test_a_log_on_a_full_disk_costs_the_log_only() -> None:
    with Console(Path("/dev/full")) as console:
        assert console.feed(b"hello\n") == ["hello"]
        assert console.statistics().log_bytes_dropped == 6


@given(st.lists(st.binary(max_size=300)))
def test_whatever_comes_the_tail_is_printable_and_nothing_is_uncounted(chunks: list[bytes]) -> None:
    console = Console(None)
    for chunk in chunks:
        console.feed(chunk)
    assert all(line.isprintable() for line in console.tail())
    assert console.statistics().bytes == sum(map(len, chunks))


@given(st.text())
def test_clean_keeps_printable_text(text: str) -> None:
    assert clean(text.encode("utf-8", "replace")).isprintable()
