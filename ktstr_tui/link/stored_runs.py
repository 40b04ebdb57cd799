"""The runs on disk: a directory for each, with its recording, captures and logs, found, measured and removed here.

The hard thing is never to remove what somebody uses. A run holds ``flock`` on its directory from start to end
(``backend/run_dirs.py``), however its process ends, and whoever reads a recording holds a shared lock on that file; so
whoever removes a run takes both locks first, and keeps them while the files go. A directory is renamed before it is
emptied: what has the name of a run is always whole.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.link.recording_tail import run_end_of
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.errors import (
    EXIT_EJECTED,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    HostError,
    KtstrError,
    UsageError,
)
from ktstr_tui.model.events import RunEnded, RunStarted
from ktstr_tui.model.stored import IDENTITY_FILE, Pruned, RemovedRuns, RunEnding, StoredRun, StoredRunFacts
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.disk_room import disk_bytes, make_room
from ktstr_tui.wire.file_lock import try_lock
from ktstr_tui.wire.whole_file import write_whole

KEEP_FILE = "keep"
"""A directory with a file of this name is removed by nobody but its user."""
TOTALS_FILE = ".removed.json"
_DIRECTORY = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,39})-\d{8}-\d{6}(\.\d{1,3})?")
_BEING_REMOVED = ".removing-"
_ENDINGS: dict[int, RunEnding] = {
    EXIT_OK: "ended",
    EXIT_EJECTED: "ejected",
    EXIT_INCONCLUSIVE: "inconclusive",
}


class _Seed(msgspec.Struct):
    """What is read of the identity of a run."""

    seed: int


class StoredRuns:
    """The runs of one user.

    Args:
        directory: Where their directories are; it need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def all(self) -> list[StoredRun]:
        """Every run, the oldest first."""
        try:
            entries = [it for it in os.scandir(self.directory) if it.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        found = [(it, match) for it in entries if (match := _DIRECTORY.fullmatch(it.name)) is not None]
        runs = [_look(Path(it.path), match["name"]) for it, match in found]
        return sorted((it for it in runs if it is not None), key=lambda it: (it.begun_ns, it.id))

    def find(self, word: str) -> list[StoredRun]:
        """Runs that a word means: the one with this directory, or all of this name, the oldest first.

        Raises:
            UsageError: There is none.
        """
        runs, path = self.all(), Path(word)
        if "/" in word:
            wanted = path.parent if path.name == RECORDING_FILE else path
            found = [it for it in runs if Path(it.path) == wanted.absolute()]
        else:
            found = [it for it in runs if it.id == word] or [it for it in runs if it.name == word]
        if not found:
            near = did_you_mean(word, [name for it in runs for name in (it.name, it.id)])
            raise UsageError(
                f"there is no run {word} on disk{near}", f"{self.directory} has them: ktstr-tui runs list"
            )
        return found

    def find_one(self, word: str) -> StoredRun:
        """Return the one run that a word means.

        Raises:
            UsageError: There is none, or there are several.
        """
        found = self.find(word)
        if len(found) > 1:
            ids = ", ".join(it.id for it in found[-8:])
            raise UsageError(f"{len(found)} runs are called {word}", f"name one of them: {ids}")
        return found[0]

    def keep(self, run: StoredRun, kept: bool) -> None:
        """Mark a run as one that stays, or take the mark away.

        Raises:
            HostError: The mark cannot be written or removed.
        """
        mark = Path(run.path) / KEEP_FILE
        try:
            if kept:
                mark.touch(mode=0o600)
            else:
                mark.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(
                f"cannot mark {run.path}: {error.strerror}", "check who may write there"
            ) from error

    def remove(self, run: StoredRun) -> None:
        """Remove a run with all its files.

        Raises:
            UsageError: It is in progress, or marked to be kept.
            HostError: Its files cannot be removed.
        """
        path = Path(run.path)
        with _locked(path) as mine:
            if not mine:
                raise UsageError(f"run {run.id} is in progress or being replayed", "end that first")
            if (path / KEEP_FILE).exists():
                raise UsageError(f"run {run.id} is marked to be kept", f"ktstr-tui runs keep {run.id} --undo")
            gone = path.with_name(f"{_BEING_REMOVED}{path.name}")
            try:
                path.rename(gone)
                shutil.rmtree(gone)
            except OSError as error:
                raise HostError(
                    f"cannot remove {error.filename or path}: {error.strerror}", "check who may write there"
                ) from error
        self._count(run)

    def prune(self, limit_bytes: int, *, spared: Path | None = None, dry_run: bool = False) -> Pruned:
        """Remove the oldest runs that are neither kept nor open until the rest fits.

        Args:
            limit_bytes: Disk that all runs may take.
            spared: Directory of a run that is about to be read.
            dry_run: Whether only to say which would go.
        """
        self._finish_removals(dry_run)
        failed: dict[str, str] = {}

        def remove(run: StoredRun) -> bool:
            try:
                if not dry_run:
                    self.remove(run)
            except KtstrError as error:
                failed[run.id] = error.message
            return run.id not in failed

        def stays(run: StoredRun) -> bool:
            # A directory without a file frees nothing, and may be of a run that begins at this moment.
            return run.kept or run.open or not run.disk_bytes or Path(run.path) == spared

        removed, left_bytes = make_room(
            [(it, it.disk_bytes) for it in self.all()], limit_bytes, remove, stays
        )
        return Pruned(
            limit_bytes=limit_bytes,
            left_bytes=left_bytes,
            removed=tuple(removed),
            failed=failed,
            dry_run=dry_run,
        )

    def removed_so_far(self) -> RemovedRuns:
        """How many runs were removed here until now."""
        try:
            return msgspec.json.decode((self.directory / TOTALS_FILE).read_bytes(), type=RemovedRuns)
        except (OSError, msgspec.MsgspecError):
            return RemovedRuns()

    def _count(self, run: StoredRun) -> None:
        before = self.removed_so_far()
        after = RemovedRuns(runs=before.runs + 1, disk_bytes=before.disk_bytes + run.disk_bytes, last=run.id)
        with suppress(OSError):
            write_whole(self.directory / TOTALS_FILE, msgspec.json.encode(after))

    def _finish_removals(self, dry_run: bool) -> None:
        """Remove what whoever removed it before was killed over."""
        for left in [] if dry_run else self.directory.glob(f"{_BEING_REMOVED}*"):
            with _locked(left) as mine:
                if mine:
                    shutil.rmtree(left, ignore_errors=True)


def facts_of(run: StoredRun) -> StoredRunFacts:
    """What the recording of a run says of it; reads its first and last part."""
    path = Path(run.path) / RECORDING_FILE
    captures = len(list((Path(run.path) / "captures").glob("*.json")))
    try:
        with RecordingReader(path) as reader:
            damage = reader.survey()
            span, ended = reader.span_ns(), reader.run_end
            started = next((it for it in reader.read_chunk() or () if isinstance(it, RunStarted)), None)
    except KtstrError as error:
        return StoredRunFacts(captures=captures, unreadable=error.message)
    return StoredRunFacts(
        captures=captures,
        info=started.info if started else None,
        duration_ms=None if span is None else (span[1] - span[0]) / 1e6,
        end_reason=_reason(run, ended),
        exit_code=ended.exit_code if ended else None,
        damage=damage.in_words,
    )


def end_of(run: StoredRun) -> RunEnding:
    """How a run ended, by the last chunk of its recording; cheap enough for every run of a list."""
    if run.open:
        return "open"
    if run.recording_bytes is None:
        return "no-recording"
    try:
        ended = run_end_of(Path(run.path) / RECORDING_FILE)
    except (KtstrError, OSError):
        return "unreadable"
    if ended is None:
        return "killed"
    return _ENDINGS.get(ended.exit_code, "failed")


def _reason(run: StoredRun, ended: RunEnded | None) -> str:
    if ended is not None:
        return ended.reason
    return "no end yet" if run.open else "killed: its recording has no end"


def _look(path: Path, name: str) -> StoredRun | None:
    try:
        status = path.lstat()
        recording = path / RECORDING_FILE
        return StoredRun(
            id=path.name,
            name=name,
            path=str(path),
            begun_ns=_begun_ns(path.name, status),
            disk_bytes=disk_bytes(path),
            recording_bytes=recording.stat().st_size if recording.is_file() else None,
            kept=(path / KEEP_FILE).exists(),
            seed=_seed_of(path / IDENTITY_FILE),
            open=_is_open(path),
        )
    except OSError:
        return None  # it was removed just now


def _seed_of(path: Path) -> int | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=_Seed).seed
    return None


def _begun_ns(directory: str, status: os.stat_result) -> int:
    """Wall clock at which a run began: its directory's name says it, local time of whoever made it."""
    stamp = re.search(r"-(\d{8}-\d{6})(?:\.\d+)?$", directory)
    with suppress(ValueError, OverflowError):
        if stamp is not None:
            return int(time.mktime(time.strptime(stamp[1], "%Y%m%d-%H%M%S"))) * 1_000_000_000
    return status.st_mtime_ns


def _is_open(path: Path) -> bool:
    with _locked(path) as mine:
        return not mine


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a run's directory and its recording if nobody does; whether they are held."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    handles = [os.open(path, flags | os.O_DIRECTORY)]
    try:
        with suppress(FileNotFoundError):
            handles.append(os.open(path / RECORDING_FILE, flags | os.O_NONBLOCK))
        yield all(try_lock(it) for it in handles)
    finally:
        for handle in handles:
            os.close(handle)
