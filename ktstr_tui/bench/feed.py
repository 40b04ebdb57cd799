"""A made-up run for the bench of the screen, in a process of its own: it publishes as a backend does, until ended.

A guest of 64 CPUs and 2,000 tasks whose trace has 100,000 events a second: ten samples a second, and each second the
rates, the tasks that changed and the block of the trace.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import trio

from ktstr_tui.bench.made_up import rates_event, sample_event, tasks_event, trace_event
from ktstr_tui.link.publisher import open_publisher
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.events import BackendBeat
from ktstr_tui.text.output import flush, print_json_line

CPUS: Final = 64
TASKS: Final = 2000
TRACE_EVENTS: Final = 100_000
SAMPLE_HZ: Final = 10


async def publish(place: Path) -> None:
    """Publish at ``place`` until cancelled; a line on standard output says when viewers may come."""
    stream = Stream()
    async with open_publisher(stream, place, _refuse):
        _second(stream, 0)
        print_json_line("{}")
        flush()
        start, number = trio.current_time(), 0
        while True:
            number += 1
            stream.emit(sample_event(CPUS, number))
            if number % SAMPLE_HZ == 0:
                _second(stream, number // SAMPLE_HZ)
            await trio.sleep_until(start + number / SAMPLE_HZ)


def _second(stream: Stream, second: int) -> None:
    stream.emit(rates_event(CPUS, TASKS, second))
    stream.emit(tasks_event(CPUS, TASKS, second))
    stream.emit(trace_event(CPUS, TASKS, TRACE_EVENTS, second))
    stream.emit(BackendBeat(viewers=1))


async def _refuse(command: Command) -> Reply:
    return command.done()


if __name__ == "__main__":
    trio.run(publish, Path(sys.argv[1]))
