"""A unix socket of this user's that is served until it is not wanted any more."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio

from ktstr_tui.guest.paths import check_socket_path
from ktstr_tui.model.errors import HostError

MAX_CONNECTIONS = 8
"""Of one socket; who serves refuses more."""


async def serve_unix(
    path: Path,
    serve: Callable[[trio.SocketStream], Awaitable[object]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen and serve each connection in a task of its own until cancelled.

    Args:
        path: Of the socket, which is removed afterwards. Its directory decides who may connect.
        serve: Serves one connection.
        task_status: Told when it listens.

    Raises:
        HostError: The socket cannot be made.
    """
    check_socket_path(path)
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        await listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise HostError(f"cannot listen on {path}: {error.strerror}", "choose another path") from error
    os.chmod(path, 0o600)
    listener.listen(MAX_CONNECTIONS)
    try:
        async with trio.open_nursery() as nursery:
            task_status.started()
            await trio.serve_listeners(serve, [trio.SocketListener(listener)], handler_nursery=nursery)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
