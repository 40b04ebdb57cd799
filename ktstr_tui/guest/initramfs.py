"""The initramfs: the whole file system of the guest, packed in memory.

The format is cpio "newc": for each file a header of ASCII hex numbers, the name and the content, each
padded to four bytes, and a last entry named ``TRAILER!!!``. The hard thing is only to be exact and to be
the same every time: inode numbers count up, times are zero, owners are root, entries come sorted with
parents first, so equal inputs give equal bytes. No program is run and no root is needed, not even for the
one device node that the kernel wants to exist before init does.
"""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath

import msgspec

from ktstr_tui.guest.guest_files import GuestFile, SchedulerPayload
from ktstr_tui.model.errors import HostError, InternalError

AGENT_PATH = "/init"
PLAN_PATH = "/ktstr/plan"
"""Where the guest program looks for its plan."""
CONFIG_PATH = "/ktstr/config"
"""Where the guest program finds the kernel's build configuration."""
DEMOS = ("fifo", "race", "stall", "starve")
GUEST_DIR_VARIABLE = "KTSTR_GUEST_DIR"
BUILD_HINT = f"in a checkout run ./scripts/setup; else install ktstr-tui again, or unset {GUEST_DIR_VARIABLE}"
_EMPTY_DIRECTORIES = ("dev", "proc", "run", "sys", "tmp")
_CONSOLE = (5, 1)


class GuestArtifacts(msgspec.Struct, frozen=True):
    """What the build made for the guest."""

    agent: Path
    demos: dict[str, Path]
    """BPF objects by the name that follows ``demo:``."""


def guest_directory() -> Path:
    """Where the build puts what it makes for guests: ``$KTSTR_GUEST_DIR``, else a directory of the package."""
    packaged = resources.files("ktstr_tui.guest") / "data"
    return Path(os.environ.get(GUEST_DIR_VARIABLE) or str(packaged))


def guest_artifacts() -> GuestArtifacts:
    """Find the guest program and the demo schedulers: in ``$KTSTR_GUEST_DIR``, else in the package.

    In a checkout, ``ktstr_tui/guest/data`` is a link to ``build/guest``, which scripts/setup fills.

    Raises:
        HostError: They were not built.
    """
    directory = guest_directory()
    found = GuestArtifacts(directory / "ktstr-agent", {name: directory / f"{name}.bpf.o" for name in DEMOS})
    for path in (found.agent, *found.demos.values()):
        if not path.is_file():
            raise HostError(f"the guest program is not built: {path} is missing", BUILD_HINT)
    return found


class GuestFiles(msgspec.Struct, frozen=True):
    """The files of a guest: all in one archive, and apart by whether a run decides them."""

    whole: bytes
    """The initramfs with everything."""
    base: bytes
    """One with what is the same in every run: the guest program and the kernel's configuration."""
    run: bytes
    """An archive of the rest: the plan and the schedulers."""


def build_files(
    agent: Path, plan: bytes, payloads: Iterable[SchedulerPayload], *, config: bytes = b""
) -> GuestFiles:
    """Pack the guest's file system; arguments and errors as those of `build_initramfs`."""
    base = _base_files(agent, config)
    run = _run_files(plan, payloads)
    return GuestFiles(_pack({**base, **run}), _pack(base), _pack(run))


def build_initramfs(
    agent: Path,
    plan: bytes,
    payloads: Iterable[SchedulerPayload],
    *,
    config: bytes = b"",
    compress: bool = False,
) -> bytes:
    """Pack the guest's file system into one initramfs.

    Args:
        agent: The guest program, which becomes ``/init``.
        plan: The scenario, as `ktstr_tui.guest.scenario.encode_plan` wrote it.
        payloads: The schedulers' files. The same path may come twice with the same content.
        config: The kernel's build configuration; left out when empty.
        compress: Gzip the result. Up to some megabytes it makes no difference to the time to boot.

    Raises:
        HostError: A file cannot be read.
        InternalError: Two payloads want different content at one path.
    """
    archive = _pack({**_base_files(agent, config), **_run_files(plan, payloads)})
    return gzip.compress(archive, compresslevel=1, mtime=0) if compress else archive


def _base_files(agent: Path, config: bytes) -> dict[str, GuestFile]:
    files = {AGENT_PATH: GuestFile(_read_agent(agent), 0o755)}
    if config:
        files[CONFIG_PATH] = GuestFile(config)
    return files


def _run_files(plan: bytes, payloads: Iterable[SchedulerPayload]) -> dict[str, GuestFile]:
    files = {PLAN_PATH: GuestFile(plan)}
    for payload in payloads:
        for path, file in payload.files.items():
            if path in (AGENT_PATH, CONFIG_PATH) or (path in files and files[path] != file):
                raise InternalError(f"two schedulers want different files at {path} in the guest")
            files[path] = file
    return files


def _pack(files: Mapping[str, GuestFile]) -> bytes:
    return pack_cpio({path: (file.mode, file.read()) for path, file in files.items()})


def _read_agent(agent: Path) -> bytes:
    try:
        return agent.read_bytes()
    except OSError as error:
        raise HostError(
            f"{agent} cannot be read: {error.strerror}", "build it again: ./scripts/setup"
        ) from error


def pack_cpio(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Pack regular files, each given as (permission bits, content), with directories and /dev/console."""
    directories = set(_EMPTY_DIRECTORIES)
    regular = {path.lstrip("/"): file for path, file in files.items()}
    for path in regular:
        directories.update(str(parent) for parent in PurePosixPath(path).parents)
    directories.discard(".")
    archive = bytearray()
    entries = [(path, stat.S_IFDIR | 0o755, b"", (0, 0)) for path in directories]
    entries += [(path, stat.S_IFREG | mode, content, (0, 0)) for path, (mode, content) in regular.items()]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", _CONSOLE))
    for inode, (path, mode, content, device) in enumerate(sorted(entries), 1):
        _append(archive, inode, path, mode, content, device)
    _append(archive, 0, "TRAILER!!!", 0, b"", (0, 0))
    return bytes(archive)


def _append(
    archive: bytearray, inode: int, path: str, mode: int, content: bytes, device: tuple[int, int]
) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode mode uid gid nlink mtime size devmajor devminor rdevmajor rdevminor namesize check
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0)
    archive += b"070701" + "".join(f"{field:08X}" for field in fields).encode()
    for part in (name, content):
        archive += part
        archive += bytes(-len(archive) % 4)
