"""Finds out whether a run tracks a process that has just sent it a heartbeat.

A datagram that the socket took may still be refused: every slot is taken, the sender is too fast, or of another
process namespace. The run publishes its senders twice a second, so the second list after the heartbeat is an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import BeatsObserved, Event
from ktstr_tui.model.state import BeatsState
from ktstr_tui.model.text import counted

WAIT_S = 3.0
"""How long lists of senders are waited for; the run sends two a second."""
LISTS = 2
"""The first may have been made before the heartbeat was read."""
_NO_SLOT = "varta_tracker_capacity_exceeded_total"


class Tracked(NamedTuple):
    """The answer."""

    tracked: bool | None
    """None when it could not be found out."""
    reason: str = ""
    """Why it is not, or why that is not known."""

    @property
    def words(self) -> str:
        """Say that it is not, or that nobody knows, and why."""
        return f"{'not tracked' if self.tracked is False else 'not known to be tracked'}: {self.reason}"


NOT_ASKED = Tracked(None, "only a run that is named can be asked")


def ask_tracked(place: Path, pid: int) -> Tracked:
    """Ask a run whether it tracks a process of this host.

    Args:
        place: Directory of the run's sockets.
        pid: The process, which has sent a heartbeat.
    """
    try:
        return asyncio.run(_ask(place, pid))
    except KtstrError as error:
        return Tracked(None, error.message)


async def _ask(place: Path, pid: int) -> Tracked:
    from ktstr_tui.link.viewer import Viewer

    lists, changed = 0, asyncio.Event()

    def on_events(events: Iterable[Event]) -> None:
        nonlocal lists
        lists += sum(isinstance(event, BeatsObserved) for event in events)
        changed.set()

    async with Viewer(place) as viewer:
        await viewer.connect()
        following = asyncio.create_task(viewer.run(on_events))
        try:
            async with asyncio.timeout(WAIT_S):
                while not _is_in(viewer.state.beats, pid) and lists < LISTS:
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            if not lists:
                return Tracked(None, f"the run listed no senders within {WAIT_S:g} s")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        return _judge(viewer.state.beats, pid)


def _is_in(beats: BeatsState, pid: int) -> bool:
    return any(row.domain == "host" and row.pid == pid for row in beats.rows)


def _judge(beats: BeatsState, pid: int) -> Tracked:
    if _is_in(beats, pid):
        return Tracked(True)
    if beats.tracked > len(beats.rows):
        return Tracked(None, f"the run tracks {beats.tracked} senders and lists {len(beats.rows)}")
    refused = beats.counters.get(_NO_SLOT, 0)
    if refused:
        return Tracked(False, f"every slot is taken; {counted(refused, 'heartbeat')} of new senders refused")
    if beats.refused:
        return Tracked(
            False, f"the run refused {counted(beats.refused, 'datagram')}; ktstr-tui events shows why"
        )
    return Tracked(False, "no heartbeat of this process arrived there")
