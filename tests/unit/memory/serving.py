"""A run whose snapshots are served over a real socket, from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from ktstr_tui.memory.remote_messages import SOCKET_NAME
from ktstr_tui.memory.remote_server import SnapshotServer
from ktstr_tui.memory.store import SnapshotStore

RUN_ID = "3f2a-77"


@contextmanager
def served(store: SnapshotStore, place: Path, run: str = "tour") -> Iterator[SnapshotServer]:
    """Serve the snapshots of a store in a directory of sockets.

    Args:
        store: Where they are.
        place: The directory, which is made.
        run: Name of the run.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    server = SnapshotServer(store, run, RUN_ID)
    listening, ends = threading.Event(), trio.CancelScope()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, place / SOCKET_NAME)
            listening.set()
            with ends:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    try:
        assert listening.wait(60)
        yield server
    finally:
        tokens[0].run_sync_soon(ends.cancel)
        thread.join()
