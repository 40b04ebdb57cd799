"""The shape of a run's two sockets: names, message frames and limits, shared by both ends.

``events.sock`` carries events, those of one turn in one message: ``[topic, run_id, batch]``. ``control.sock`` carries
requests ``[command]`` and answers ``[reply, attachment...]``: the state of a snapshot, the events of a range.
"""

from __future__ import annotations

from pathlib import Path

from ktstr_tui.model.errors import UsageError

EVENTS_SOCKET = "events.sock"
CONTROL_SOCKET = "control.sock"
EVENT_TOPIC = b"e"
TRACE_TOPIC = b"t"
"""Blocks of the kernel's trace, for viewers that have opened a timeline."""
BRIEF_TOPIC = b"b"
"""In their place, for all others: the same events without what is in the blocks, so that no number is missing."""
VIEWER_TOPIC = b"v"
"""Each viewer also subscribes to this and a name of its own. Nothing is sent there, but the publisher sees
the subscription come and go; so it counts viewers."""

MAX_RANGE_EVENTS = 2000
"""Events in one answer to ``range``; the asker asks again for the rest."""
MAX_RANGE_BYTES = 8 << 20
"""Bytes of events in one answer to ``range``, except that a single event is always sent."""
MAX_SOCKET_PATH_BYTES = 107
"""``sun_path`` holds 108 bytes with the terminating zero."""


def endpoint(path: Path) -> str:
    """The ZeroMQ address of a unix socket.

    Raises:
        UsageError: No unix socket can have that name.
    """
    length = len(str(path.absolute()).encode(errors="surrogateescape"))
    if length > MAX_SOCKET_PATH_BYTES:
        raise UsageError(
            f"the socket path {path} has {length} bytes; unix sockets allow {MAX_SOCKET_PATH_BYTES}",
            "forward the sockets to a directory with a shorter name, such as one in /tmp",
        )
    return f"ipc://{path.absolute()}"


def socket_pair(place: Path | str | tuple[Path, Path]) -> tuple[Path, Path]:
    """The two sockets meant by ``place``.

    Args:
        place: A run's directory, any directory with forwarded ``events.sock`` and ``control.sock``, the path
            of one of the two, or both paths.

    Returns:
        Paths of the events and of the control socket; they need not exist yet.
    """
    if isinstance(place, tuple):
        return place
    path = Path(place)
    if path.is_dir():
        return path / EVENTS_SOCKET, path / CONTROL_SOCKET
    if path.name in (EVENTS_SOCKET, CONTROL_SOCKET):
        return path.with_name(EVENTS_SOCKET), path.with_name(CONTROL_SOCKET)
    if path.name.endswith(EVENTS_SOCKET):
        return path, path.with_name(path.name.removesuffix(EVENTS_SOCKET) + CONTROL_SOCKET)
    if path.name.endswith(CONTROL_SOCKET):
        return path.with_name(path.name.removesuffix(CONTROL_SOCKET) + EVENTS_SOCKET), path
    return path / EVENTS_SOCKET, path / CONTROL_SOCKET
