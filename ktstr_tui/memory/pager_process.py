"""Starting the pager's process: what it inherits, and the arguments that it gets (``native/pager/main.c``)."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ktstr_tui.guest.initramfs import guest_directory
from ktstr_tui.guest.paths import check_socket_path
from ktstr_tui.memory.pager_source import PageSource, PrewarmList, SocketSource, StoreSource, encode_pages
from ktstr_tui.memory.pager_statistics import SharedPage, shared_bytes
from ktstr_tui.memory.uffd import open_uffd
from ktstr_tui.model.errors import HostError

PROGRAM = "ktstr-pager"


class PagerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a pager works."""

    interval_s: float = 1.0
    """Between two looks at what others may have changed; also how long a source may take to answer."""
    prewarm: PrewarmList = PrewarmList()
    prefetch: tuple[int, ...] = ()
    """Pages to load as soon as there is nothing else to do, in this order."""


@dataclass(frozen=True, slots=True)
class PagerProcess:
    """A started pager with our ends of its channels."""

    popen: subprocess.Popen[bytes]
    control: socket.socket
    handoff: socket.socket
    """For a process with the shim to inherit."""
    shared: SharedPage


def spawn(source: PageSource, config: PagerConfig, stack: ExitStack) -> PagerProcess:
    """Start a pager, without waiting for it.

    Args:
        source: Where the pages are.
        config: How it works.
        stack: Takes what is to be closed when the pager has ended.

    Raises:
        HostError: The source or the program is not there.
    """
    program = guest_directory() / PROGRAM
    pages = source.pages
    shared_fd = _memory("shared", None, stack, shared_bytes(pages))
    digests = _memory("digests", source.digests, stack)
    prewarm = _memory("prewarm", encode_pages(config.prewarm.pages) or None, stack)
    prefetch = _memory("prefetch", encode_pages(config.prefetch) or None, stack)
    kind, fd, path = _where(source, stack)
    (control, far_control), (handoff, far_handoff) = _pair(stack), _pair(stack)
    fds = (far_control.fileno(), far_handoff.fileno(), shared_fd)
    words = [
        *fds,
        pages,
        max(1, round(config.interval_s * 1000)),
        digests,
        prewarm,
        prefetch,
        kind,
        f"{fd}{path}",
    ]
    inherited = [*fds, *(it for it in (digests, prewarm, prefetch, fd) if it >= 0)]
    try:
        process = subprocess.Popen(
            [program, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            start_new_session=True,
        )
    except OSError as error:
        raise HostError(f"{program} cannot be started: {error.strerror}", "run scripts/setup") from error
    assert process.stderr is not None
    stack.callback(process.stderr.close)
    stack.callback(_reap, process)
    far_control.close()
    far_handoff.close()
    control.setblocking(False)
    shared = SharedPage(shared_fd, pages)
    stack.callback(shared.close)
    return PagerProcess(process, control, handoff, shared)


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Set before anybody sends: the kernel notes who sent only for a socket that wants to know.
    far.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    stack.callback(near.close)
    stack.callback(far.close)
    return near, far


def _memory(name: str, content: bytes | None, stack: ExitStack, size: int = 0) -> int:
    """A file in memory for the pager to inherit; -1 when there is nothing to say."""
    if content is None and not size:
        return -1
    fd = os.memfd_create(f"ktstr-pager-{name}")
    stack.callback(os.close, fd)
    if content is None:
        os.ftruncate(fd, size)
        return fd
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return fd


def _where(source: PageSource, stack: ExitStack) -> tuple[str, int, str]:
    """The kind of a source, its file or -1, and with a colon before it the path of its socket or nothing."""
    if not isinstance(source, SocketSource):
        return "store" if isinstance(source, StoreSource) else "raw", _file(source.path, stack), ""
    check_socket_path(source.path)
    return "socket", -1 if source.here is None else _file(source.here, stack), f":{source.path}"


def _file(path: Path, stack: ExitStack) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(f"cannot open {path}: {error.strerror}", "is the snapshot complete?") from error
    stack.callback(os.close, fd)
    return fd


def why_not_lazily() -> str | None:
    """Why memory cannot be loaded lazily on this host, with what to do; None when it can."""
    try:
        os.close(open_uffd())
    except HostError as error:
        return f"{error.message} ({error.hint})"
    program = guest_directory() / PROGRAM
    return None if Path(program).is_file() else f"{program} is missing; run scripts/setup"
