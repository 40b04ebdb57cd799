"""Snapshots on the machine of a run, named by the directory of its forwarded sockets: ``DIRECTORY/NAME``.

The file of the snapshot is copied at once: it names the pages, and is small beside them. They come when they are
touched (`ktstr_tui.memory.remote_pages`). What is here of a run lies in a directory of its id, so that it is found
again whichever way the sockets were forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from ktstr_tui.guest.paths import state_dir
from ktstr_tui.memory import remote_messages as rm
from ktstr_tui.memory.pages import MAGIC, ZERO, PageFile
from ktstr_tui.memory.remote_link import RemoteLink, Travelled
from ktstr_tui.memory.remote_pages import REMOTE_FILE, Remote, RemotePages
from ktstr_tui.memory.remote_room import Removed, make_room
from ktstr_tui.memory.snapshot import SUFFIX, Snapshot, decode_snapshot
from ktstr_tui.memory.store import DIRECTORY, PAGES, SnapshotStore, is_name
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.wire.whole_file import write_whole

CONTROL_SOCKET = "control.sock"
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_FIRST_S = 2.0
"""How long the first answer is waited for: later the link was there once, now it may be a mistake."""


class RemoteStore(SnapshotStore):
    """What is here of the snapshots of a run on another machine.

    Args:
        directory: Where that is.
        remote: Where the rest is.
    """

    def __init__(self, directory: Path, remote: Remote) -> None:
        super().__init__(directory)
        self.remote = remote
        self.travelled = Travelled()
        """What came over the link so far."""
        self.removed: tuple[Removed, ...] = ()
        """What had come of other runs, and was removed when this one was opened."""

    @contextmanager
    def pages(self) -> Iterator[RemotePages]:
        """The pages of all snapshots, for reading; they come when they are asked for."""
        link = RemoteLink(Path(self.remote.socket))
        link.travelled = self.travelled
        with closing(RemotePages(self.directory, link)) as pages:
            yield pages

    def here(self, snapshot: Snapshot) -> int:
        """How many of the pages of a snapshot's memory that are not zeros are here."""
        path = self.directory / PAGES
        if not path.exists():
            return 0
        with closing(PageFile(path)) as file:
            digests = (blob.digest(page) for blob in snapshot.memory for page in range(blob.pages))
            return sum(digest != ZERO and digest in file for digest in digests)


def socket_of(place: Path) -> Path | None:
    """The socket through which the snapshots of a run are seen; None when that is no directory of a run's sockets.

    Raises:
        UsageError: It is, but that socket is not among them.
    """
    path = place / rm.SOCKET_NAME
    if path.is_socket():
        return path.absolute()
    if not (place / CONTROL_SOCKET).is_socket():
        return None
    raise UsageError(
        f"{place} has no socket {rm.SOCKET_NAME}, through which snapshots are seen",
        f"forward it like the others: ssh -N -L {path.absolute()}:DIRECTORY_OF_THE_RUN/{rm.SOCKET_NAME} HOST",
    )


def list_remote(path: Path) -> rm.Listing:
    """The snapshots of the run behind a socket.

    Raises:
        KtstrError: The link is away.
    """
    with closing(RemoteLink(path, _FIRST_S)) as link:
        return link.ask(rm.ListStored(), rm.Listing)


def open_remote(path: Path, name: str, home: Path | None = None) -> RemoteStore:
    """Have a snapshot of the run behind a socket here, but for its pages.

    Args:
        path: The socket.
        name: Of the snapshot.
        home: Where what comes is kept; None for this user's place for it.

    Raises:
        UsageError: There is no such snapshot.
        DamagedError: It is not what was stored.
        HostError: The link is away, or nothing can be written here.
    """
    with closing(RemoteLink(path, _FIRST_S)) as link:
        listing = link.ask(rm.ListStored(), rm.Listing)
        if _ID.fullmatch(listing.run_id) is None:
            raise rm.MessageError("the run has no id", "is this the socket of a run?")
        known = [it.name for it in listing.snapshots]
        if name not in known or not is_name(name):
            named = ", ".join(known) or "none"
            raise UsageError(f"there is no snapshot {name} in {path.parent}", f"there are: {named}")
        data = link.ask(rm.GetFile(name), rm.FileBytes).data
    remote = Remote(socket=str(path), run=listing.run, run_id=listing.run_id)
    home = home or state_dir() / "remote"
    directory = home / listing.run_id / DIRECTORY
    store = RemoteStore(directory, remote)
    decode_snapshot(data, path.parent / name)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(directory / f"{name}{SUFFIX}", data)
        if not (directory / PAGES).exists():
            write_whole(directory / PAGES, MAGIC)
        write_whole(directory / REMOTE_FILE, msgspec.json.encode(remote))
    except OSError as error:
        raise HostError(f"{directory} cannot be written: {error.strerror}", "free some space") from error
    store.removed = make_room(home, directory.parent)
    return store
