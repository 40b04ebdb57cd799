"""What can be asked of a snapshot: its blobs, its typed view, its difference from another one, its raw memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ktstr_tui.kernel.view import KernelView
from ktstr_tui.memory.find import Found
from ktstr_tui.memory.pages import PAGE_BYTES, ZERO, DamagedError, Pages
from ktstr_tui.memory.snapshot import Blob, Snapshot
from ktstr_tui.memory.stored_ram import SnapshotRam
from ktstr_tui.model.diff import ReportDiff, diff_reports
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.report import CaptureReport


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two snapshots."""

    pages: int
    """Of the larger one."""
    changed_pages: int
    captures: ReportDiff
    """Between the captures that were taken at the same stops."""


def blob_bytes(pages: Pages, blob: Blob) -> bytes:
    """The bytes of a blob.

    Raises:
        DamagedError: A page is not what was stored.
    """
    digests = [blob.digest(at) for at in range(blob.pages)]
    wanted = list(dict.fromkeys(digest for digest in digests if digest != ZERO))
    found = {ZERO: bytes(PAGE_BYTES), **dict(zip(wanted, pages.get_many(wanted), strict=True))}
    return b"".join(found[digest] for digest in digests)[: blob.size_bytes]


def report_of(found: Found) -> CaptureReport:
    """The capture that was taken at the same stop as a snapshot.

    Raises:
        DamagedError: It is not what was stored.
    """
    snapshot = found.store.read(found.name)
    with found.store.pages() as pages:
        try:
            return msgspec.json.decode(blob_bytes(pages, snapshot.report), type=CaptureReport)
        except msgspec.MsgspecError as error:
            raise DamagedError(
                f"the capture of snapshot {found.name} is not understood: {error}",
                "use the version of ktstr-tui that wrote it",
            ) from error


@contextmanager
def open_view(found: Found) -> Iterator[tuple[KernelView, SnapshotRam]]:
    """Open the kernel in a snapshot by type; pages are read when they are first asked for.

    Raises:
        KtstrError: The snapshot is damaged, or there is no kernel in it.
    """
    snapshot = found.store.read(found.name)
    with found.store.pages() as pages:
        ram = SnapshotRam(snapshot, pages)
        yield KernelView.open(ram, snapshot.vmcoreinfo or None), ram


def difference(before: Found, after: Found) -> Difference:
    """Compare two snapshots page by page, and their captures.

    Raises:
        KtstrError: One of them is damaged.
    """
    old, new = before.store.read(before.name), after.store.read(after.name)
    changed = sum(
        _changed(first, second) for first, second in zip(old.memory, new.memory, strict=False)
    ) + abs(_pages(old) - _pages(new))
    captures = diff_reports(report_of(before), report_of(after))
    if old.info.run_id != new.info.run_id:
        captures = _of_two_runs(captures, old, new)
    return Difference(pages=max(_pages(old), _pages(new)), changed_pages=changed, captures=captures)


def _of_two_runs(diff: ReportDiff, old: Snapshot, new: Snapshot) -> ReportDiff:
    """Leave out what one clock or one counter would be needed for, and say so."""
    queues = tuple(msgspec.structs.replace(it, moved=None) for it in diff.queues)
    why = f"{old.info.run} and {new.info.run} are two: no time lies between them, and nothing was counted on"
    return msgspec.structs.replace(diff, between_ms=None, queues=queues, notes={**diff.notes, "runs": why})


def export_raw(found: Found, out: Path) -> int:
    """Write guest-physical memory as one file of mode 0600, zeros as holes; returns the bytes of data.

    Raises:
        UsageError: The file is there already.
        HostError: It cannot be written; nothing is left then.
    """
    snapshot = found.store.read(found.name)
    written = 0
    make_private(out)
    try:
        with found.store.pages() as pages, out.open("r+b") as file:
            ram = SnapshotRam(snapshot, pages)
            for start, length in ram.data_ranges():
                file.seek(start)
                for at in range(start, start + length, PAGE_BYTES):
                    written += file.write(pages.get(ram.digest(at)))
            file.truncate(ram.end)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise not_written(out, error) from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return written


def make_private(out: Path) -> None:
    """Make an empty file of mode 0600, as the store has: the memory of a guest may hold secrets.

    Raises:
        UsageError: There is something of that name already.
        HostError: It cannot be made.
    """
    try:
        os.close(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise UsageError(f"{out} is there already", "name another file") from None
    except OSError as error:
        raise not_written(out, error) from error


def not_written(out: Path, error: OSError) -> HostError:
    """The error of a file that the host does not write."""
    return HostError(f"{out} cannot be written: {os.strerror(error.errno or 0)}", "choose another place")


def _pages(snapshot: Snapshot) -> int:
    return sum(blob.pages for blob in snapshot.memory)


def _changed(first: Blob, second: Blob) -> int:
    return sum(first.digest(at) != second.digest(at) for at in range(min(first.pages, second.pages)))
