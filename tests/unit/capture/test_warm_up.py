"""Warming up reads a guest that runs, so anything may be torn."""

from __future__ import annotations

from types import SimpleNamespace

from ktstr_tui.capture.report.collect import warm_up


def test_warming_up_swallows_whatever_a_running_guest_does() -> None:
    asked: list[str] = []
    torn = SimpleNamespace(fresh_space=lambda: asked.append("space"))
    warm_up(torn)  # type: ignore[arg-type]
    assert asked == ["space"]
