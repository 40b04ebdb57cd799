"""What becomes of kernel operations in the state and in the log."""

from __future__ import annotations

from ktstr_tui.model.events import KernelOpDone
from ktstr_tui.model.facts import KernelOpPlace
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState


def told(event: KernelOpDone) -> tuple[RunState, str]:
    """The state after an event, and the line it made."""
    state = fold(RunState(), event)
    (line,) = state.log
    assert (line.source, line.severity) == ("write", "warning")
    return state, line.text


def test_a_write_is_told_with_before_and_after() -> None:
    place = KernelOpPlace(target="panic_timeout", address=1 << 63, size_bytes=4, before=0, after=77)
    state, text = told(KernelOpDone(who="guest", mode="cold", ok=True, entries=(place,)))
    assert text == "guest (cold): panic_timeout 0 → 77"
    assert (state.kernel_writes, state.kernel_writes_refused) == (1, 0)


def test_a_refusal_is_told_with_its_reason() -> None:
    event = KernelOpDone(
        who="bob", mode="hot", ok=False, reason="it is kernel text", entries=(KernelOpPlace(target="_stext"),)
    )
    state, text = told(event)
    assert text == "bob (hot): _stext; refused: it is kernel text"
    assert (state.kernel_writes, state.kernel_writes_refused) == (0, 1)


def test_long_operations_make_short_lines() -> None:
    entries = tuple(
        KernelOpPlace(target=f"place{it}\x1b[2J", size_bytes=64, before="00" * 64, after="ff" * 64)
        for it in range(9)
    )
    _, text = told(KernelOpDone(who="guest", mode="hot", ok=True, entries=entries))
    assert text.endswith("(64 bytes) and 5 more")
    assert "\x1b" not in text
    assert "place3" in text
    assert "place4" not in text


def test_what_cannot_be_read_back_is_not_zero() -> None:
    place = KernelOpPlace(target="knob", address=5, size_bytes=4, before=1)
    _, text = told(KernelOpDone(who="guest", mode="hot", ok=False, reason="gone", entries=(place,)))
    assert text == "guest (hot): knob 1 → unreadable; refused: gone"
