"""A viewer in a process of its own, for the bench of the link: counts events, and says when it had the last one."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import zmq

from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.events import Event, Sampled
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.text.output import flush, print_json_line
from ktstr_tui.wire.codec import decode_event

BARE_TOPIC = b"e"
BARE_SOCKET = "bare.sock"


def read_bare(place: Path, count: int, *, works: bool) -> int:
    """Take messages of a plain SUB socket, unread, or decoded and folded if it ``works``; how many came."""
    state = RunState()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.connect(f"ipc://{place / BARE_SOCKET}")
        socket.subscribe(BARE_TOPIC)
        _say_ready()
        for _ in range(count):
            data = socket.recv_multipart()[-1]
            if works:
                fold(state, decode_event(data))
    return count


async def read_ours(place: Path, count: int) -> int:
    """Follow as every viewer does: decode and fold; how many samples came until there was the last."""
    seen, whole = 0, asyncio.Event()

    def take(events: list[Event]) -> None:
        nonlocal seen
        seen += sum(isinstance(it, Sampled) for it in events)
        if viewer.state.seq >= count:
            whole.set()

    async with Viewer(place) as viewer:
        await viewer.connect()
        _say_ready()
        following = asyncio.create_task(viewer.run(take))
        await whole.wait()
        following.cancel()
    return seen


def _say_ready() -> None:
    print_json_line("{}")
    flush()


def main() -> None:
    """Take as many events as the command line says, and print when the last one was there."""
    kind, place, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    seen = (
        asyncio.run(read_ours(place, count))
        if kind == "ours"
        else read_bare(place, count, works=kind == "worked")
    )
    print_json_line(f'{{"seen": {seen}, "last_ns": {time.monotonic_ns()}}}')
    flush()


if __name__ == "__main__":
    main()
