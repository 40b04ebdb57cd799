"""The snapshots of a run for other machines: which there are, their files, and pages by digest.

It listens on a unix socket beside the run's other sockets, with the same rights: the directory is the user's alone, and
ssh forwards it. It only reads. Reading is done in worker threads, so that a slow disk holds up nothing of the run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import trio

from ktstr_tui.memory import remote_messages as rm
from ktstr_tui.memory.pages import DIGEST_BYTES, DamagedError, PageFile
from ktstr_tui.memory.snapshot import MAX_FILE_BYTES
from ktstr_tui.memory.store import PAGES, SnapshotStore
from ktstr_tui.memory.unix_listener import MAX_CONNECTIONS, serve_unix
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.wire.user_file import read_user_file


class SnapshotServer:
    """Serves the snapshots of a run.

    Args:
        store: Where they are.
        run: Name of the run.
        run_id: Its id.
    """

    def __init__(self, store: SnapshotStore, run: str, run_id: str) -> None:
        self._store, self._run, self._run_id = store, run, run_id
        self._connections = 0
        self.sent_pages = 0
        """To all who asked."""

    async def run(self, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled.

        Args:
            path: Of the socket, which is removed afterwards.
            task_status: Told when it listens.

        Raises:
            HostError: The socket cannot be made.
        """
        with suppress(OSError):
            os.unlink(path)  # of a run that was killed
        await serve_unix(path, self._serve, task_status=task_status)

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        pages = _Pages(self._store.directory / PAGES)
        try:
            async with stream:
                if self._connections > MAX_CONNECTIONS:
                    busy = rm.NotDone("too many look at the snapshots of this run", "try again later")
                    await stream.send_all(rm.encode(busy))
                    return
                while (asked := await _receive(stream)) is not None:
                    answer = await trio.to_thread.run_sync(self._answer, asked, pages)
                    await stream.send_all(rm.encode(answer))
        except (trio.BrokenResourceError, rm.MessageError):
            pass  # whoever it was asks again, or made no sense
        finally:
            pages.close()
            self._connections -= 1

    def _answer(self, asked: rm.Asked, pages: _Pages) -> rm.Answer:
        try:
            match asked:
                case rm.ListStored():
                    return rm.Listing(self._run, self._run_id, tuple(map(self._about, self._store.names())))
                case rm.GetFile(name=name):
                    path = self._store.file(name)
                    return rm.FileBytes(read_user_file(path, "snapshot", "", max_bytes=MAX_FILE_BYTES))
                case rm.GetPages(digests=digests):
                    wanted = [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]
                    found = pages.stored(wanted)
                    self.sent_pages += sum(page is not None for page in found)
                    return rm.StoredPages(tuple(found))
        except KtstrError as error:
            return rm.NotDone(error.message, error.hint)

    def _about(self, name: str) -> rm.StoredOne:
        kept = self._store.is_kept(name)
        try:
            return rm.StoredOne(name=name, kept=kept, info=self._store.read(name).info)
        except KtstrError as error:
            return rm.StoredOne(name=name, kept=kept, info=None, problem=error.message)


class _Pages:
    """The pages of a store for one connection; opened again for pages of snapshots that came later."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: PageFile | None = None

    def stored(self, digests: list[bytes]) -> list[bytes | None]:
        if self._file is None or any(it not in self._file for it in digests):
            self.close()
            self._file = PageFile(self._path)
        return [_stored(self._file, digest) for digest in digests]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _stored(file: PageFile, digest: bytes) -> bytes | None:
    try:
        return file.stored(digest)
    except DamagedError:
        return None


async def _receive(stream: trio.SocketStream) -> rm.Asked | None:
    """The next request; None when there is none any more.

    Raises:
        MessageError: It is none.
    """
    head = await _exactly(stream, rm.LENGTH.size)
    if head is None:
        return None
    (length,) = rm.LENGTH.unpack(head)
    if length > rm.MAX_REQUEST_BYTES:
        raise rm.MessageError(f"a request of {length} bytes")
    body = await _exactly(stream, length)
    return None if body is None else rm.decode_asked(body)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        if not part:
            return None
        data += part
    return bytes(data)
