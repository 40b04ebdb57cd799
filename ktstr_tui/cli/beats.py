"""``beats``: who beats in a run, who fell silent, and why."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from ktstr_tui.cli.attach import find_run
from ktstr_tui.model.state import BeatsState
from ktstr_tui.model.text import counted
from ktstr_tui.text.output import print_json, print_line


def beats_command(run_name: str | None, as_json: bool) -> None:
    """Print the heartbeats of a run.

    Raises:
        KtstrError: There is no such run, or it does not answer.
    """
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> BeatsState:
        async with Viewer(place) as viewer:
            await viewer.connect()
            return viewer.state.beats

    place = find_run(run_name)
    beats = asyncio.run(ask(place))
    if as_json:
        print_json(beats_object(beats, place / "beats.sock"))
        return
    for line in beats_lines(beats):
        print_line(line)


def beats_object(beats: BeatsState, socket: Path) -> dict[str, Any]:
    """The state of the heartbeats as one JSON object; ages in milliseconds."""
    values: dict[str, Any] = msgspec.to_builtins(beats)
    del values["mono_ns"]
    return {"socket": str(socket) if socket.is_socket() else None, "observed": beats.mono_ns != 0, **values}


def beats_lines(beats: BeatsState) -> list[str]:
    """The same as lines for people."""
    if not beats.mono_ns:
        return ["no heartbeats yet"]
    hidden = beats.tracked - len(beats.rows)
    more = f", {hidden} of them not listed" if hidden > 0 else ""
    lines = [
        f"{counted(beats.tracked, 'sender')}{more}; stalled after {beats.threshold_ms / 1000:g} s; "
        f"{counted(beats.stalls, 'stall')}, {counted(beats.recoveries, 'recovery', 'recoveries')}, "
        f"{counted(beats.refused, 'datagram')} refused",
        f"{'sender':24} {'world':7} {'state':9} {'age':>9} {'beats':>9} {'missed':>7} {'stalls':>6}  origin",
    ]
    for row in beats.rows:
        state = "STALLED" if row.stalled else "last word" if row.terminal else row.status
        lines.append(
            f"{f'{row.comm}[{row.pid}]':24} {row.domain:7} {state:9} {row.age_ms / 1000:7.1f} s "
            f"{row.beats:9} {row.missed:7} {row.stalls:6}  {row.origin}"
        )
    lines += [f"silent now: {it.text}" for it in beats.silences if not it.over]
    return lines
