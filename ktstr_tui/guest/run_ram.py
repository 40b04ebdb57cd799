"""The RAM of somebody else's guest: that of a run which another process of this user holds.

The RAM files are anonymous (see `guest.ram`), so there is no path to open. But the process of the run keeps them open,
and Linux lets a process of the same user open them again through ``/proc/PID/fd``. The names of the memfds give their
order, their sizes the cut at the PCI hole, so nothing has to be asked of the run: this works while it is frozen, busy
or stuck.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktstr_tui.guest import ram, topology_args
from ktstr_tui.model.errors import HostError, UsageError

_LINK = re.compile(rf"/memfd:{ram.NAME}(\d+) \(deleted\)")

RamPart = tuple[int, int, int, int]
"""File descriptor, file offset, guest-physical address and length of a run of RAM."""


@contextmanager
def open_ram_of(pid: int, proc: Path = Path("/proc")) -> Iterator[list[RamPart]]:
    """Open the RAM of the guest of a process for reading.

    Args:
        pid: The process that holds the RAM: the backend of a run.
        proc: Root of procfs.

    Yields:
        The RAM as (file descriptor, file offset, guest-physical address, length) runs, ascending by address. The
        descriptors are closed afterwards; mappings that were made of them stay.

    Raises:
        UsageError: There is no such process, or it holds no RAM of a guest, or a part of that is not loaded yet: to
            read what is missing would make zeros of it.
        HostError: It belongs to another user, or this user may not look into it.
    """
    descriptors: list[int] = []
    try:
        for path in _ram_files(pid, proc):
            descriptors.append(_open(path, pid))
        nodes = tuple(os.fstat(descriptor).st_size for descriptor in descriptors)
        yield [
            (descriptors[s.fd_index], s.offset, s.guest_phys, s.length) for s in topology_args.segments(nodes)
        ]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _ram_files(pid: int, proc: Path) -> list[Path]:
    """The links to the RAM files of a process, in the order of the NUMA nodes."""
    found: dict[int, Path] = {}
    files: dict[int, set[int]] = {}
    try:
        for entry in (proc / str(pid) / "fd").iterdir():
            try:
                link = os.readlink(entry)
            except FileNotFoundError:
                continue  # closed since the directory was read
            if link.startswith(f"/memfd:{ram.LOADING} "):
                raise UsageError(f"the memory of the guest of process {pid} is still being loaded", _LOADED)
            match = _LINK.fullmatch(link)
            if match is not None:
                found[int(match[1])] = entry
                files.setdefault(int(match[1]), set()).add(entry.stat().st_ino)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise UsageError(f"process {pid} has ended, and the guest's memory with it", _LATER) from error
    except PermissionError as error:
        raise _denied(pid) from error
    if not found or sorted(found) != list(range(len(found))):
        raise UsageError(f"process {pid} holds no memory of a guest (any more, or not yet)", _LATER)
    if any(len(inodes) > 1 for inodes in files.values()):
        raise UsageError(f"process {pid} holds the memory of several guests", "give the process of one QEMU")
    return [found[index] for index in sorted(found)]


def _open(path: Path, pid: int) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageError(f"process {pid} gave up the guest's memory just now", _LATER) from error
    except PermissionError as error:
        raise _denied(pid) from error


def _denied(pid: int) -> HostError:
    return HostError(
        f"process {pid} does not let this user read its guest's memory",
        "run this as the user who started the run",
    )


_LOADED = "ask again when its log says that all memory is loaded, or restore with --eager"
_LATER = "list the runs with: ktstr-tui status; the captures of a finished run stay in its data directory"
