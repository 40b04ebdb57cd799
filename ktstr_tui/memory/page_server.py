"""The other end of a pager whose pages lie elsewhere: it reads them out of a store and sends those that are asked for.

It listens on a unix socket, which ssh forwards. A request is two u64, little-endian: the offset in the image and the
page size. The answer repeats both, and the page follows; a page size of 0 in it says that the page cannot be read here.
Whoever asks compares each page with its digest, and makes a connection again that broke, so this end keeps nothing of
one connection.
"""

from __future__ import annotations

import struct
from pathlib import Path

import trio

from ktstr_tui.memory.pages import PAGE_BYTES, ZERO, DamagedError, Pages
from ktstr_tui.memory.remote_pages import RemotePages
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.memory.unix_listener import MAX_CONNECTIONS, serve_unix
from ktstr_tui.model.errors import HostError

CLUSTER_PAGES = 16
"""Of the image, that are fetched together."""
_REQUEST = struct.Struct("<QQ")


class PageServer:
    """Serves the memory of one snapshot.

    Args:
        snapshot: The snapshot.
        pages: Its pages; must stay open as long as this object is used.
        far: Where they may have to be fetched, what says whether one is here. Fetching is done in a thread, and brings
            neighbours along, since a guest waits for each page.
    """

    def __init__(self, snapshot: Snapshot, pages: Pages, far: RemotePages | None = None) -> None:
        self._digests = [
            blob.digest(page) for blob in snapshot.memory for page in range(blob.size_bytes // PAGE_BYTES)
        ]
        self._pages, self._far = pages, far
        self._connections = 0
        self.sent_pages = 0
        """To all who asked."""
        self.unreadable_pages = 0
        """Requests for pages that cannot be read here."""

    async def run(self, path: Path, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled.

        Args:
            path: Of the socket, which is removed afterwards. Its directory decides who may connect.
            task_status: Told when it listens.

        Raises:
            HostError: The socket cannot be made.
        """
        await serve_unix(path, self._serve, task_status=task_status)

    async def _serve(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            async with stream:
                if self._connections <= MAX_CONNECTIONS:
                    await self._answer_all(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            self._connections -= 1

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        held = b""
        while data := await stream.receive_some(4096):
            held += data
            while len(held) >= _REQUEST.size:
                asked = _REQUEST.unpack_from(held)
                if self._is_far(asked[0]):
                    answer = await trio.to_thread.run_sync(self._answer, *asked)
                else:
                    answer = self._answer(*asked)
                held = held[_REQUEST.size :]
                if answer is None:
                    return
                await stream.send_all(answer)

    def _is_far(self, offset: int) -> bool:
        number = offset // PAGE_BYTES
        return (
            self._far is not None and number < len(self._digests) and self._digests[number] not in self._far
        )

    def _answer(self, offset: int, page_bytes: int) -> bytes | None:
        """The answer to a request; None for one that no pager makes."""
        number, rest = divmod(offset, PAGE_BYTES)
        if rest or page_bytes != PAGE_BYTES or number >= len(self._digests):
            return None
        try:
            if self._is_far(offset):
                first = number - number % CLUSTER_PAGES
                around = dict.fromkeys(self._digests[first : first + CLUSTER_PAGES])
                self._pages.get_many([digest for digest in around if digest != ZERO])
            page = self._pages.get(self._digests[number])
        except DamagedError:
            self.unreadable_pages += 1
            return _REQUEST.pack(offset, 0)
        except HostError:
            return None  # the link is away: the pager makes its connection again and asks again
        self.sent_pages += 1
        return _REQUEST.pack(offset, PAGE_BYTES) + page
