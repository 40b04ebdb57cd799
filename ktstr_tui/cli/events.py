"""``events``: the events of a run or of a recording, one a line."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ktstr_tui.cli.attach import find_run
from ktstr_tui.link.runs import is_killed, look_at_run
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import Event, WatchpointHit
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import LogLine, RunState
from ktstr_tui.model.text import printable
from ktstr_tui.text.output import flush, print_json_line, print_line, say
from ktstr_tui.text.words import call

if TYPE_CHECKING:
    from ktstr_tui.link.viewer import Viewer

_LOOK_S = 1.0
"""How often a backend that is gone is looked for; its last events may take as long."""


class EventPrinter:
    """Prints events on standard output, as JSON or as the lines that the event log would show.

    Args:
        as_json: One JSON object a line, every event; else the text of those that say something.
        start_ns: Host time of the run's start, for the times of the text; 0 when the events tell it.
    """

    def __init__(self, *, as_json: bool, start_ns: int = 0) -> None:
        self._as_json = as_json
        self._state = RunState(started_mono_ns=start_ns)
        self._last_seq = 0
        self._encoder = msgspec.json.Encoder()

    def restart(self, start_ns: int) -> None:
        """Begin with the events of another run, which has numbers and a start of its own."""
        self._state, self._last_seq = RunState(started_mono_ns=start_ns), 0

    def print(self, events: Iterable[Event]) -> None:
        """Print ``events`` and flush; report a hole in their numbers on standard error."""
        for event in events:
            if self._last_seq and event.seq > self._last_seq + 1:
                say(f"events {self._last_seq + 1} to {event.seq - 1} are missing")
            self._last_seq = max(self._last_seq, event.seq)
            if self._as_json:
                print_json_line(self._encoder.encode(event).decode())
            else:
                for line in self._lines(event):
                    print_line(line)
        flush()

    def _lines(self, event: Event) -> list[str]:
        before = self._count("log"), self._count("output")
        fold(self._state, event)
        new_log = self._count("log") - before[0]
        new_output = self._count("output") - before[1]
        fresh = self._state.log[len(self._state.log) - new_log :]
        fresh += self._state.output[len(self._state.output) - new_output :]
        if isinstance(event, WatchpointHit):
            fresh.append(LogLine(event.mono_ns, "info", "watch", _hit_in_words(event)))
        return [self._format(line) for line in fresh]

    def _count(self, name: str) -> int:
        return len(getattr(self._state, name)) + self._state.forgotten.get(name, 0)

    def _format(self, line: LogLine) -> str:
        seconds = (line.mono_ns - self._state.started_mono_ns) / 1e9
        mark = {"error": "!", "warning": "*"}.get(line.severity, " ")
        return f"{seconds:10.3f} {mark} {line.source:<10} {line.text}"


def _hit_in_words(hit: WatchpointHit) -> str:
    def shown(value: int | None) -> str:
        return "?" if value is None else f"{value:#x}"

    writer = f" by {printable(hit.writer.comm)}[{hit.writer.pid}]" if hit.writer else ""
    vcpu = "" if hit.vcpu is None else f" on CPU {hit.vcpu}"
    if hit.arguments is not None:
        return f"slot {hit.slot}: {hit.expression}{printable(call(hit.arguments))}{writer}{vcpu}"
    return f"slot {hit.slot}: {hit.expression}: {shown(hit.old)} -> {shown(hit.value)}{writer}{vcpu}"


def events_command(run_name: str | None, follow: bool, as_json: bool) -> None:
    """Print the events of a run, or of a recording when its file is named.

    Raises:
        KtstrError: There is no such run or recording, or the backend is gone.
    """
    try:
        if run_name is not None and "/" in run_name and not os.path.lexists(run_name):
            raise UsageError(
                f"there is no file or directory {run_name}",
                "name a run, its recording.ktstr, or the directory that holds its sockets",
            )
        if run_name is not None and _is_no_run(run_name):
            _print_recording(Path(run_name), follow, as_json)
        else:
            asyncio.run(_print_run(find_run(run_name), follow, as_json))
    except BrokenPipeError:
        # Whoever read has seen enough. Python must not try to flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_no_run(name: str) -> bool:
    """Whether a name is that of something which can only be meant as a recording, if it is one."""
    return os.path.exists(name) and not os.path.isdir(name) and not Path(name).is_socket()


def _print_recording(path: Path, follow: bool, as_json: bool) -> None:
    from ktstr_tui.link.recfile import Damage, read_recording

    if follow:
        raise UsageError("a recording cannot be followed", "name the run instead, or leave out --follow")
    damages: list[Damage] = []
    EventPrinter(as_json=as_json).print(read_recording(path, damages.append))
    if damages:
        raise HostError(f"{path} is not whole: {damages[0].in_words}")


async def _print_run(place: Path, follow: bool, as_json: bool) -> None:
    from ktstr_tui.link.viewer import Viewer

    async with Viewer(place, trace=True) as viewer:
        await viewer.connect()
        printer = EventPrinter(as_json=as_json, start_ns=viewer.state.started_mono_ns)
        oldest, past = await viewer.fetch(1, viewer.state.seq)
        if oldest > 1:
            say(f"events 1 to {oldest - 1} are no longer kept; the recording has them")
        printer.print(past)
        if not follow:
            return
        await _follow(viewer, printer)


async def _follow(viewer: Viewer, printer: EventPrinter) -> None:
    """Print what comes until the run has ended. A backend that is gone is waited for, unless its process has ended.

    Raises:
        HostError: The process of the run is gone, and the run did not end.
    """
    link = _Link(viewer)

    def on_events(events: list[Event]) -> None:
        link.look(printer)
        printer.print(events)

    following = asyncio.create_task(viewer.run(on_events))
    looks = 0
    while not (await asyncio.wait({following}, timeout=_LOOK_S))[0]:
        looks = looks + 1 if viewer.connection == "gone" and is_killed(viewer.place) else 0
        if looks > 1:
            # The last events had the time to arrive.
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            recording = look_at_run(viewer.place).recording
            hint = f"what it recorded: ktstr-tui events {recording}" if recording else ""
            raise HostError(f"the backend is gone: {viewer.connection_reason}; the run was killed", hint)
    following.result()


class _Link:
    """Says when a backend goes and when it is back."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._run_id = viewer.run_id
        self._gone = False

    def look(self, printer: EventPrinter) -> None:
        """Say what has changed since the last look."""
        viewer = self._viewer
        if viewer.connection == "gone" and not self._gone:
            self._gone = True
            say(f"the backend is gone: {viewer.connection_reason}; waiting for it")
        elif viewer.connection == "live" and self._gone:
            self._gone = False
            say("connected again")
        if viewer.run_id != self._run_id:
            self._run_id = viewer.run_id
            say(f"another run responds here now; its events follow from number {viewer.state.seq + 1} on")
            printer.restart(viewer.state.started_mono_ns)
