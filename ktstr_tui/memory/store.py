"""The snapshots of one run, on disk: a directory with one file of pages and one small file for each snapshot.

Committing a snapshot is one rename, after its pages are on disk; before it nothing refers to them, after it everything
is there. So a crash at any step leaves the snapshots of before, or those and the new one (`tests/unit/memory` kills a
writer at every step). Removing is an unlink; the pages that nobody names any more go when the file of pages is written
anew (`SnapshotStore.collect`), which is again one rename.

One writer at a time holds ``lock``. Readers need no lock: a file of pages only grows, and one that was replaced stays
readable for whoever has it open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import msgspec

from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES, ZERO, DamagedError, PageFile, Pages
from ktstr_tui.memory.snapshot import SUFFIX, Blob, Snapshot, encode_snapshot, read_snapshot
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.wire.file_lock import lock_of
from ktstr_tui.wire.whole_file import sync_directory, write_whole

DIRECTORY = "snapshots"
"""In the data directory of a run."""
PAGES = "pages"
ORDER = ".order"
"""Ending of the file with the pages that a guest of the snapshot touched first."""
KEEP = ".keep"
"""Ending of the empty file that protects a snapshot from being evicted."""
DEFAULT_LIMIT_BYTES = 8 << 30
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_NAMES = "letters, digits, dots, dashes and underscores, at most 80"
_CHUNK_PAGES = 2048
_MAY_WRITE = "check who may write there, and whether the disk is full"

Step = Callable[[str], object]
"""Told before each step of a commit; for tests, which end the process there."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of one snapshot found."""

    name: str
    damage: tuple[str, ...] = ()
    """Empty when everything is as it was stored."""
    pages: int = 0


class SnapshotStore:
    """The snapshots in a directory.

    Args:
        directory: Of the snapshots; made by the first one that is stored.
        limit_bytes: How much they may take; the oldest that nobody keeps goes first; 0 for no limit.
        step: Told before each step of a commit.
    """

    def __init__(
        self, directory: Path, *, limit_bytes: int = DEFAULT_LIMIT_BYTES, step: Step = lambda name: None
    ) -> None:
        self.directory = directory
        self._limit = limit_bytes
        self._step = step

    def names(self) -> list[str]:
        """The names of the snapshots, oldest first; none when there is no directory."""
        try:
            found = [path for path in self.directory.iterdir() if path.name.endswith(SUFFIX)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostError(f"cannot list {self.directory}: {error.strerror}") from error
        there = [(age, path.name) for path in found if (age := _age(path)) is not None]
        return [name.removesuffix(SUFFIX) for _, name in sorted(there) if not name.startswith(".")]

    def read(self, name: str) -> Snapshot:
        """Read a snapshot.

        Raises:
            UsageError: There is none of that name.
            DamagedError: It is not whole.
        """
        return read_snapshot(self._path(name))

    def file(self, name: str) -> Path:
        """The file of a snapshot.

        Raises:
            UsageError: There is none of that name.
        """
        return self._path(name)

    @contextmanager
    def pages(self) -> Iterator[Pages]:
        """The pages of all snapshots, for reading."""
        file = PageFile(self.directory / PAGES)
        try:
            yield file
        finally:
            file.close()

    def is_kept(self, name: str) -> bool:
        """Whether a snapshot is protected from being evicted."""
        return (self.directory / f"{name}{KEEP}").exists()

    def keep(self, name: str, *, kept: bool = True) -> None:
        """Protect a snapshot from being evicted, or no longer.

        Raises:
            UsageError: There is none of that name.
            HostError: The mark cannot be written or removed.
        """
        self.read(name)
        mark = self.directory / f"{name}{KEEP}"
        try:
            if kept:
                write_whole(mark, b"")
            else:
                mark.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot mark snapshot {name}: {error.strerror}", _MAY_WRITE) from error

    @contextmanager
    def writing(self) -> Iterator[SnapshotWriter]:
        """Store snapshots; one writer at a time.

        Raises:
            HostError: Another one is at it, or the directory cannot be made.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(f"cannot make {self.directory}: {error.strerror}", "free some space") from error
        with _locked(self.directory / "lock"):
            file = PageFile(self.directory / PAGES, writing=True)
            try:
                yield SnapshotWriter(self, file, self._step)
            finally:
                file.close()

    def remove(self, name: str) -> None:
        """Remove a snapshot; its pages go with the next `collect`.

        Raises:
            UsageError: There is none of that name.
            HostError: It cannot be removed.
        """
        path = self._path(name)
        try:
            path.unlink()
            for beside in (KEEP, ORDER):
                (self.directory / f"{name}{beside}").unlink(missing_ok=True)
        except FileNotFoundError as error:
            raise self._unknown(name) from error
        except OSError as error:
            raise HostError(f"cannot remove snapshot {name}: {error.strerror}", _MAY_WRITE) from error

    def collect(self) -> int:
        """Write the file of pages anew with what the snapshots name; returns the bytes that it freed.

        A damaged snapshot keeps nothing: nobody can say what it names. A damaged page is left out, and counted by
        `verify` from then on.

        Raises:
            HostError: No space for the new file, or another writer is at it; all is as before then.
        """
        if not (self.directory / PAGES).exists():
            return 0
        with _locked(self.directory / "lock"):
            return self._collect()

    def evict(self) -> list[str]:
        """Remove the oldest snapshots that nobody keeps until the rest fits the limit; returns their names."""
        gone: list[str] = []
        candidates = [name for name in self.names() if not self.is_kept(name)]
        # The newest stays: it was just asked for.
        for name in candidates[:-1]:
            if not self._limit or self.size_bytes() <= self._limit:
                break
            self.remove(name)
            self.collect()
            gone.append(name)
        return gone

    def size_bytes(self) -> int:
        """What the directory takes."""
        with suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in self.directory.iterdir())
        return 0

    def verify(self, names: Iterable[str] | None = None) -> list[Verdict]:
        """Read every byte of snapshots.

        Args:
            names: Which; None for all.
        """
        return [self._verify(name) for name in (self.names() if names is None else names)]

    def _verify(self, name: str) -> Verdict:
        damage: list[str] = []
        pages = 0
        try:
            snapshot = self.read(name)
            with self.pages() as file:
                wanted = snapshot.wanted()
                pages = len(wanted)
                for digest in sorted(wanted):
                    try:
                        file.get(digest)
                    except DamagedError as error:
                        damage.append(error.message)
        except KtstrError as error:
            damage.append(error.message)
        return Verdict(name=name, damage=tuple(damage), pages=pages)

    def _collect(self) -> int:
        wanted: set[bytes] = set()
        for name in self.names():
            with suppress(KtstrError):
                wanted |= self.read(name).wanted()
        path = self.directory / PAGES
        before = path.stat().st_size
        with closing(PageFile(path)) as old:
            if not old.has_more_than(wanted):
                return 0
            try:
                self._write_anew(old, wanted)
            except OSError as error:
                raise HostError(f"{path} cannot be rewritten: {error.strerror}", _MAY_WRITE) from error
        return before - path.stat().st_size

    def _write_anew(self, old: PageFile, wanted: set[bytes]) -> None:
        new = self.directory / f".{PAGES}.new"
        new.unlink(missing_ok=True)
        try:
            with closing(PageFile(new, writing=True)) as fresh:
                old.copy_to(fresh, wanted)
                fresh.sync()
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        new.rename(self.directory / PAGES)
        sync_directory(self.directory)

    def _path(self, name: str) -> Path:
        path = self.directory / f"{name}{SUFFIX}"
        if "/" in name or not path.exists():
            raise self._unknown(name)
        if not is_name(name):
            raise UsageError(f"{name!r} cannot be a snapshot's name", f"rename {path}: {_NAMES}")
        return path

    def _unknown(self, name: str) -> UsageError:
        return UsageError(
            f"there is no snapshot {name} in {self.directory}", "ktstr-tui snapshot list names them"
        )


class SnapshotWriter:
    """Adds snapshots to a store; made by `SnapshotStore.writing`.

    Args:
        store: Where they go.
        file: The pages.
        step: Told before each step of a commit.
    """

    def __init__(self, store: SnapshotStore, file: PageFile, step: Step) -> None:
        self._store = store
        self._file = file
        self._step = step

    def blob(self, data: memoryview | bytes) -> tuple[Blob, int]:
        """Keep some bytes as pages; returns what names them and how many pages were new.

        Raises:
            HostError: No space is left.
        """
        view = memoryview(data)
        digests = bytearray()
        new = 0
        for first in range(0, len(view), _CHUNK_PAGES * PAGE_BYTES):
            self._step("add pages")
            chunk = view[first : first + _CHUNK_PAGES * PAGE_BYTES]
            found, added = self._file.add(
                bytes(chunk[at : at + PAGE_BYTES]).ljust(PAGE_BYTES, b"\0")
                for at in range(0, len(chunk), PAGE_BYTES)
            )
            digests += found
            new += added
        return Blob(size_bytes=len(view), digests=bytes(digests)), new

    def sparse(self, data: memoryview, ranges: Iterable[tuple[int, int]]) -> tuple[Blob, int]:
        """Keep memory of which only some ranges hold data; the rest is zeros and is not read.

        Args:
            data: The whole memory.
            ranges: Where there is data, ascending; multiples of the page size.

        Returns:
            What names it, and how many pages were new.

        Raises:
            HostError: No space is left.
        """
        digests = bytearray()
        new = 0
        for start, stop in ranges:
            digests += ZERO * ((start - len(digests) // DIGEST_BYTES * PAGE_BYTES) // PAGE_BYTES)
            with data[start:stop] as part:
                blob, added = self.blob(part)
            digests += blob.digests
            new += added
        digests += ZERO * (len(data) // PAGE_BYTES - len(digests) // DIGEST_BYTES)
        return Blob(size_bytes=len(data), digests=bytes(digests)), new

    def commit(self, snapshot: Snapshot) -> Path:
        """Give a snapshot its name, once everything that it names is on disk; returns its file.

        Raises:
            UsageError: The name is taken, or cannot be one.
            HostError: No space is left; nothing is stored then.
        """
        name = snapshot.info.name
        if not is_name(name):
            raise UsageError(f"{name!r} cannot be a snapshot's name", f"use {_NAMES}")
        path = self._store.directory / f"{name}{SUFFIX}"
        if path.exists():
            raise UsageError(f"there is a snapshot {name} already", "choose another name")
        self._step("sync pages")
        self._file.sync()
        self._step("rename snapshot")
        try:
            write_whole(path, encode_snapshot(snapshot))
        except OSError as error:
            raise HostError(
                f"snapshot {name} cannot be written: {error.strerror}",
                "free some space (ktstr-tui snapshot rm, ktstr-tui snapshot gc) and take it again",
            ) from error
        self._step("done")
        return path


def _age(path: Path) -> int | None:
    """When a file was written; None when it was removed meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return None


def is_name(name: str) -> bool:
    """Whether a snapshot can have that name."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            free = stack.enter_context(lock_of(path))
        except OSError as error:
            raise HostError(f"cannot lock {path}: {error.strerror}", "free some space") from error
        if not free:
            raise HostError(
                f"somebody else writes to the snapshots in {path.parent}", "try again in a moment"
            )
        yield
