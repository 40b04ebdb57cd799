"""The pages of a snapshot that lies elsewhere: those that were touched are here, the others come when they are.

A directory holds what came of the snapshots of one run: their files, a file of pages as every store has one, and
``remote.json``, which says where the rest is. So an interrupted link costs nothing twice, and the next command finds
here what the one before had asked for. One process at a time adds to it; what another one fetches meanwhile it keeps
for itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import zstandard

from ktstr_tui.memory import remote_messages as rm
from ktstr_tui.memory.pages import PAGE_BYTES, ZERO, DamagedError, PageFile, digest_of, unpacked_page
from ktstr_tui.memory.remote_link import RemoteLink, Travelled
from ktstr_tui.memory.store import PAGES
from ktstr_tui.model.errors import HostError
from ktstr_tui.wire.file_lock import try_lock

REMOTE_FILE = "remote.json"
LOCK_FILE = "lock"
"""Held by the one process that adds to the directory."""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """``remote.json``: where the snapshots of a directory really are."""

    socket: str
    """Absolute path of the forwarded socket."""
    run: str
    run_id: str


def remote_of(directory: Path) -> Remote | None:
    """Where the snapshots of a directory really are; None when they are there.

    Raises:
        HostError: What says so cannot be read.
    """
    path = directory / REMOTE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Remote)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise HostError(f"{path} cannot be read: {error}", "remove its directory") from error


def open_pages(directory: Path) -> PageFile | RemotePages:
    """Open the pages of the snapshots in a directory for reading, wherever they are.

    Raises:
        KtstrError: They cannot be.
    """
    remote = remote_of(directory)
    if remote is None:
        return PageFile(directory / PAGES)
    return RemotePages(directory, RemoteLink(Path(remote.socket)))


class RemotePages:
    """Pages of a run on another machine. Blocks while they come; safe from any thread.

    Args:
        directory: What came before, and comes now.
        link: Leads to the others.
    """

    def __init__(self, directory: Path, link: RemoteLink) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._unkept: dict[bytes, bytes] = {}
        self._adding = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._writes = try_lock(self._adding)
            self._file = PageFile(directory / PAGES, writing=self._writes)
        except BaseException:
            os.close(self._adding)
            raise

    @property
    def travelled(self) -> Travelled:
        """What came over the link."""
        return self._link.travelled

    def get(self, digest: bytes) -> bytes:
        """A page.

        Raises:
            DamagedError: It is not there either, or what came is another one.
            HostError: The link is away.
        """
        (page,) = self.get_many([digest])
        return page

    def get_many(self, digests: Sequence[bytes]) -> list[bytes]:
        """Several pages; those that are missing are asked for together.

        Raises:
            KtstrError: As for `get`.
        """
        with self._lock:
            known = {digest: page for digest in digests if (page := self._here(digest)) is not None}
            missing = [digest for digest in dict.fromkeys(digests) if digest not in known]
            for at in range(0, len(missing), rm.MAX_PAGES):
                known.update(self._fetch(missing[at : at + rm.MAX_PAGES]))
        return [known[digest] for digest in digests]

    def __contains__(self, digest: bytes) -> bool:
        """Whether a page is here."""
        return digest == ZERO or digest in self._unkept or digest in self._file

    def close(self) -> None:
        """Close the file and the connection."""
        self._link.close()
        self._file.close()
        os.close(self._adding)

    def _here(self, digest: bytes) -> bytes | None:
        if digest in self._unkept:
            return self._unkept[digest]
        if digest not in self._file:
            return None
        try:
            return self._file.get(digest)
        except DamagedError:
            return None  # what was here is damaged; the other end has it whole

    def _fetch(self, digests: list[bytes]) -> dict[bytes, bytes]:
        answer = self._link.ask(rm.GetPages(b"".join(digests)), rm.StoredPages)
        if len(answer.pages) != len(digests):
            raise rm.MessageError(f"{len(answer.pages)} pages came, {len(digests)} were asked for")
        came = {
            digest: _checked(digest, stored) for digest, stored in zip(digests, answer.pages, strict=True)
        }
        self._link.travelled.pages += len(came)
        kept = False
        if self._writes:
            with suppress(HostError):  # a full disk: they are kept in memory then
                self._file.add(came.values())
                kept = True
        if not kept:
            self._unkept.update(came)
        return came


def _checked(digest: bytes, stored: bytes | None) -> bytes:
    if stored is None:
        raise DamagedError(
            f"page {digest.hex()} cannot be read where the snapshot lies",
            "ktstr-tui snapshot verify there names what is damaged",
        )
    try:
        page = unpacked_page(stored)
    except zstandard.ZstdError as error:
        raise DamagedError(f"page {digest.hex()} came damaged: {error}", "try again") from error
    if digest == ZERO or len(page) != PAGE_BYTES or digest_of(page) != digest:
        raise DamagedError(f"page {digest.hex()} is not what was stored", "try again")
    return page
