"""What ``ssh -L local.sock:remote.sock`` does: each connection is carried, byte by byte, to another socket."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType


class Relay:
    """Forwards connections to ``local`` on to ``remote``; can stall and can drop them."""

    def __init__(self, local: Path, remote: Path) -> None:
        self._local = local
        self._remote = remote
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.carried_bytes = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_unix_server(self._accept, self._local)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut every connection."""
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(self._remote)
        except OSError:
            # As ssh does when the far end has gone.
            writer.close()
            return
        self._writers |= {writer, far_writer}
        for one, other in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._carry(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self.flowing.wait()
                self.carried_bytes += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
