"""Writes what was taken in a stop as a snapshot, while the guest runs again. Blocks; for a worker thread."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec

from ktstr_tui.memory.copy import RamCopy
from ktstr_tui.memory.snapshot import Blob, Snapshot, SnapshotInfo
from ktstr_tui.memory.store import PAGES, SnapshotStore
from ktstr_tui.model.errors import HostError

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_CHARACTERS = 70


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a snapshot besides the memory."""

    state: bytes
    """Of CPUs and devices."""
    initrd: bytes
    run_files: bytes | None
    report: bytes
    plan: bytes
    config: bytes
    vmcoreinfo: bytes
    elapsed_ns: int | None
    step: int | None
    waiting: tuple[int, ...] = ()
    """Requests of the guest that have no answer yet."""


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that is on disk."""

    name: str
    path: Path
    pages: int
    """Of the guest that are not all zeros."""
    new_pages: int
    """Of these, how many no snapshot of the run had held before."""
    new_bytes: int
    took_ms: float
    evicted: tuple[str, ...]
    """Snapshots that had to go for the limit."""
    problem: str
    """Why the limit could not be kept; empty when it was."""


def name_for(store: SnapshotStore, tag: str) -> str:
    """A free name for the snapshot of a capture: its tag, as far as that can be the name of a file."""
    taken = set(store.names())
    base = _ODD.sub("-", tag).strip("-.")[:_NAME_CHARACTERS] or "snapshot"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def write_snapshot(store: SnapshotStore, copy: RamCopy, parts: Parts, info: SnapshotInfo) -> Written:
    """Write one snapshot, and remove what is too much then.

    Args:
        store: Where it goes.
        copy: The RAM.
        parts: All else.
        info: What is said of it in lists; ``new_pages`` is filled in.

    Raises:
        HostError: The disk is full, or another program writes to the store; nothing is stored then.
    """
    began_s = time.monotonic()
    with store.writing() as writer:
        before = (store.directory / PAGES).stat().st_size
        memory: list[Blob] = []
        new_pages = 0
        for part, ranges in zip(copy.parts(), copy.ranges(), strict=True):
            with part:
                blob, new = writer.sparse(part, ranges)
            memory.append(blob)
            new_pages += new
        files = parts.run_files
        snapshot = Snapshot(
            info=msgspec.structs.replace(info, new_pages=new_pages),
            memory=tuple(memory),
            state=writer.blob(parts.state)[0],
            initrd=writer.blob(parts.initrd)[0],
            report=writer.blob(parts.report)[0],
            plan=writer.blob(parts.plan)[0],
            config=writer.blob(parts.config)[0],
            run_files=None if files is None else writer.blob(files)[0],
            vmcoreinfo=parts.vmcoreinfo,
            elapsed_ns=parts.elapsed_ns,
            step=parts.step,
            waiting=parts.waiting,
        )
        path = writer.commit(snapshot)
        after = (store.directory / PAGES).stat().st_size
    evicted, problem = _evict(store)
    return Written(
        name=info.name,
        path=path,
        pages=sum(it.pages - it.zero_pages for it in snapshot.memory),
        new_pages=new_pages,
        new_bytes=after - before + path.stat().st_size,
        took_ms=(time.monotonic() - began_s) * 1e3,
        evicted=evicted,
        problem=problem,
    )


def _evict(store: SnapshotStore) -> tuple[tuple[str, ...], str]:
    try:
        return tuple(store.evict()), ""
    except HostError as error:
        return (), f"the limit of disk is not kept: {error.message}"
