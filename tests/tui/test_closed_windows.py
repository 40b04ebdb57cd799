"""A window that is closed leaves nothing of what it drew."""

from __future__ import annotations

import gc

from textual._styles_cache import StylesCache
from textual.pilot import Pilot

from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press
from tests.tui.story import Story

TIMES = 6


def test_what_windows_drew_is_not_kept_after_they_are_closed() -> None:
    kept = []

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        for _ in range(TIMES):
            await press(app, pilot, "question_mark")
            await press(app, pilot, "escape")
            gc.collect()
            kept.append(sum(isinstance(it, StylesCache) for it in gc.get_objects()))

    drive(FakeSource(Story().until(20)), steps)
    assert kept[-1] == kept[1]
