"""Whether the viewer that the guest is frozen for is still there."""

from __future__ import annotations

from ktstr_tui.backend.freezer import GONE_LOOKS, Freezer


def test_a_viewer_is_gone_after_some_looks_without_a_ping() -> None:
    pings = {"v1": 3}
    freezer = Freezer(lambda viewer: pings.get(viewer, 0))
    assert not any(freezer.is_gone("v1") for _ in range(GONE_LOOKS))
    pings["v1"] += 1  # it was only slow
    assert not any(freezer.is_gone("v1") for _ in range(GONE_LOOKS))
    assert freezer.is_gone("v1")
    assert not freezer.is_gone("")
    assert not any(freezer.is_gone("v1") for _ in range(GONE_LOOKS)), "another freeze counts afresh"


def test_one_that_leaves_is_as_silent_as_one_that_is_stopped() -> None:
    pings = {"v1": 3}
    freezer = Freezer(lambda viewer: pings.get(viewer, 0))
    assert not freezer.is_gone("v1")
    pings.clear()
    assert [freezer.is_gone("v1") for _ in range(GONE_LOOKS + 1)] == [False] * GONE_LOOKS + [True]
