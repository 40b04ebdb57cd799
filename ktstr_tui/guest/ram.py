"""The guest's RAM as anonymous files: shared with QEMU by descriptor, gone when the last holder dies.

A memfd has no name in any file system. Whatever dies first, and however hard, nothing is left behind that
would fill ``/dev/shm``. The price is that an overcommitted host does not refuse it: pages are taken as the
guest touches them, and running out ends in the OOM killer. So the space is checked before, against the host's
``MemAvailable`` and against every memory cgroup above this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktstr_tui.model.errors import HostError

MIB = 1 << 20
_CHUNK_BYTES = 1 << 30
NAME = "ktstr-ram"
"""Of a RAM file, followed by the number of its NUMA node."""
LOADING = "ktstr-loading"
"""Of a file that is open in the process of a run while the RAM of its guest is still being loaded."""
OVERHEAD_BYTES = 192 * MIB
"""What QEMU itself takes beside the RAM: its code, device models and, with TCG, translated code."""


@contextmanager
def open_ram(nodes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Make one memfd per NUMA node.

    Args:
        nodes: Size of each in bytes.

    Yields:
        The descriptors, closed afterwards; mappings and QEMU's own descriptors keep the memory alive.
    """
    descriptors: list[int] = []
    try:
        for index, size in enumerate(nodes):
            descriptors.append(os.memfd_create(f"{NAME}{index}"))
            os.ftruncate(descriptors[-1], size)
        yield tuple(descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def check_space(
    memory_bytes: int, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> None:
    """Refuse a guest that does not fit.

    Args:
        memory_bytes: RAM of the guest.
        proc: Root of procfs.
        cgroups: Root of the cgroup v2 hierarchy.

    Raises:
        HostError: Less than the RAM and QEMU's overhead is free.
    """
    needed = memory_bytes + OVERHEAD_BYTES
    for name, free in _limits(proc, cgroups):
        if free < needed:
            raise HostError(
                f"a guest of {memory_bytes // MIB} MiB needs {needed // MIB} MiB with QEMU; "
                f"{name} leaves {free // MIB} MiB",
                "give the guest less (--memory), or end other programs",
            )


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Memory that a new guest may take, in bytes; None when the host does not say."""
    return min((free for _, free in _limits(proc, cgroups)), default=None)


def _limits(proc: Path, cgroups: Path) -> Iterator[tuple[str, int]]:
    """Each limit that applies: its name for people and the bytes it leaves."""
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield "MemAvailable", int(line.split()[1]) * 1024
    own = next(
        (line[3:] for line in _read(proc / "self/cgroup").splitlines() if line.startswith("0::")), None
    )
    if own is None:
        return
    group = cgroups / own.lstrip("/")
    while group != cgroups.parent:
        limit, used = _read(group / "memory.max").strip(), _read(group / "memory.current").strip()
        if limit.isdigit() and used.isdigit():
            # Page cache counts as used but is given back under pressure.
            yield f"cgroup {group}", int(limit) - int(used) + _inactive_file_bytes(group)
        group = group.parent


def _inactive_file_bytes(group: Path) -> int:
    for line in _read(group / "memory.stat").splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data, as (first byte, byte behind the last)."""
    at, size = 0, os.fstat(descriptor).st_size
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError:
            return
        at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, at


def copy_data(source: int, target: int) -> int:
    """Copy a file into an empty one, holes as holes; return the bytes of data. Blocks.

    Raises:
        OSError: A disk or the memory is full.
    """
    copied = 0
    os.ftruncate(target, os.fstat(source).st_size)
    for start, stop in data_ranges(source):
        os.lseek(target, start, os.SEEK_SET)
        at = start
        while at < stop:
            sent = os.sendfile(target, source, at, min(stop - at, _CHUNK_BYTES))
            if not sent:
                raise OSError(0, "the file became shorter")
            at += sent
        copied += stop - start
    return copied
