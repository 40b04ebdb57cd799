"""Mentions runs whose screen is gone and that nobody looks at, where it is read: when the next run is started."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ktstr_tui.model.errors import KtstrError
from ktstr_tui.text.output import say

ANSWER_S = 1.0
"""How long a run may take to answer; one that does not is not held up for."""
MAX_ASKED = 8


def mention_unseen_runs() -> None:
    """Say on standard error which runs of this user continue unseen; costs nothing where there are no runs."""
    from ktstr_tui.guest.paths import runtime_dir
    from ktstr_tui.link.runs import list_runs

    try:
        alive = [run for run in list_runs(runtime_dir()) if run.alive]
    except KtstrError:
        return  # the run that is about to start says it
    if not alive:
        return
    for name in asyncio.run(_unseen({run.name: run.socket_dir for run in alive[:MAX_ASKED]})):
        say(f"run {name} continues unseen: ktstr-tui attach {name} to see it, ktstr-tui end {name} to end it")


async def _unseen(places: dict[str, Path]) -> list[str]:
    answers = await asyncio.gather(*(_is_unseen(place) for place in places.values()))
    return [name for name, unseen in zip(places, answers, strict=True) if unseen]


async def _is_unseen(place: Path) -> bool:
    from ktstr_tui.link.viewer import Viewer

    try:
        async with Viewer(place) as viewer:
            await viewer.connect(ANSWER_S)
            return any(alert.kind == "unseen" for alert in viewer.state.alerts.values())
    except KtstrError:
        return False  # of another version, or just ending: whoever names it is told why
