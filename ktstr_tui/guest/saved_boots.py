"""Boots that were saved: a guest that has booted is the beginning of every later run of the same machine.

Booting a kernel under emulation takes seconds, and it is the same each time. So the guest program stands still when
all has been done that no run decides (``native/agent/saved.h``). There the machine is saved, its state and its RAM; a
later run copies the RAM, loads the state and goes on from there. The files of the run, scenario and schedulers, come
afterwards, in both cases.

What makes two machines the same is the *key*: a hash of everything that decides how a boot goes. A boot is written to a
directory of its own and renamed to its key when it is whole, so there is no half of one. It is only used while the host
that wrote it is up (``boot_id``): what a power cut left in a file is not worth a check of every byte at each start.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.guest.qemu import MachineSpec, command
from ktstr_tui.guest.qemu_program import find_qemu
from ktstr_tui.guest.ram import copy_data
from ktstr_tui.model.errors import HostError
from ktstr_tui.wire.disk_room import by_last_use, make_room, remove_tree

LIMIT_BYTES = 2 << 30
"""Disk that all of them may take; the one that was not used for the longest time goes first."""
SPARE_BYTES = 1 << 30
"""Disk that is left to others: none is saved when there would be less."""
_ABOUT = "about.json"
_NEW = ".new-"
"""How the name of a boot begins that is being written; the id of the process that writes it follows."""
_PROC = Path("/proc")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class About(msgspec.Struct, frozen=True):
    """What is said of a saved boot in its directory."""

    kernel: str
    """Path of the kernel that was booted."""
    cpus: int
    memory_bytes: int
    data_bytes: int
    """RAM that is kept: the rest was never touched."""
    boot_ms: float
    """How long the boot had taken."""
    host_boot: str
    """Of the host that wrote it."""
    sha256: str = ""
    """Of what the guest was like, for one from which runs with a seed go on; see `seeded_boot`."""


class SavedBoot:
    """A saved boot on disk.

    Args:
        directory: Where it is.
        about: What is said of it.
    """

    def __init__(self, directory: Path, about: About) -> None:
        self.directory = directory
        self.about = about

    @property
    def state(self) -> Path:
        """State of vCPUs and devices, for `machine_state.load_state`."""
        return self.directory / "state"

    @property
    def console(self) -> bytes:
        """What the guest printed while it booted."""
        return (self.directory / "console").read_bytes()

    @property
    def paging(self) -> None:
        """Nothing: the RAM is copied."""
        return

    def copy_ram(self, ram_fds: Sequence[int]) -> None:
        """Copy its RAM into empty RAM files.

        Raises:
            OSError: It is gone, or there is no memory.
        """
        for index, target in enumerate(ram_fds):
            with open(self.directory / f"ram{index}", "rb") as file:
                copy_data(file.fileno(), target)


class SavedBoots:
    """The saved boots of this user.

    Args:
        directory: Where they are; None for their place in the user's cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_dir() / "boots"

    def find(self, key: str) -> SavedBoot | None:
        """Return the boot of a machine, or None when there is none that can be used."""
        directory = self.directory / key
        try:
            about = msgspec.json.decode((directory / _ABOUT).read_bytes(), type=About)
            if about.host_boot != host_boot():
                self.remove(key)
                return None
            os.utime(directory)
        except (OSError, msgspec.MsgspecError):
            return None
        return SavedBoot(directory, about)

    def all(self) -> list[SavedBoot]:
        """Return all of them, the one that was used last first."""
        try:
            found = by_last_use(self.directory.iterdir())
        except OSError:
            return []
        return [boot for path in reversed(found) if (boot := self._read(path)) is not None]

    def remove(self, key: str) -> None:
        """Remove one, when it is there."""
        shutil.rmtree(self.directory / key, ignore_errors=True)

    def begin(self) -> Path:
        """Make a directory to save a boot to, for `finish`; remove those of processes that were killed meanwhile.

        Raises:
            OSError: It cannot be made.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.directory.glob(f"{_NEW}*"):
            pid = left.name.removeprefix(_NEW).partition("-")[0]
            if not (_PROC / pid).exists():
                shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{_NEW}{os.getpid()}-", dir=self.directory))

    def room_for(self, data_bytes: int) -> bool:
        """Return whether the disk has room for one more."""
        return shutil.disk_usage(self.directory).free >= data_bytes + SPARE_BYTES

    def finish(self, written: Path, key: str, about: About) -> None:
        """Take what was written as the boot of a machine, and remove what is too much.

        Raises:
            OSError: It cannot be written.
        """
        (written / _ABOUT).write_bytes(msgspec.json.encode(about))
        try:
            written.rename(self.directory / key)
        except OSError:
            # Another run of the same machine was quicker: its boot is as good.
            shutil.rmtree(written, ignore_errors=True)
        self._make_room()

    def _make_room(self) -> None:
        names = [(it.directory.name, it.about.data_bytes) for it in reversed(self.all())]
        make_room(names, LIMIT_BYTES, lambda key: remove_tree(self.directory / key))

    def _read(self, directory: Path) -> SavedBoot | None:
        try:
            about = msgspec.json.decode((directory / _ABOUT).read_bytes(), type=About)
        except (OSError, msgspec.MsgspecError):
            return None
        return SavedBoot(directory, about)


def boot_key(spec: MachineSpec) -> str:
    """Return the key of a machine: a hash of what decides how its boot goes. Blocks for some tens of milliseconds.

    Raises:
        HostError: The kernel or QEMU cannot be read.
    """
    program = find_qemu()
    status = program.stat()
    ram = tuple(f"ram{index}" for index in range(spec.topology.nodes))
    channels = dict.fromkeys(("qmp", "gdb", "page", "bulk", "stats", "saved_boot", "run_files"), 0)
    anywhere = replace(spec, kernel=Path("kernel"), socket_dir=Path("sockets"))
    try:
        kernel = spec.kernel.read_bytes()
        initrd = spec.initrd if isinstance(spec.initrd, bytes) else spec.initrd.read_bytes()
    except OSError as error:
        raise HostError(
            f"{error.filename} cannot be read: {error.strerror}", "choose another kernel"
        ) from error
    parts = (
        f"{program} {status.st_mtime_ns} {status.st_size}".encode(),
        *(word.encode() for word in command(program, anywhere, "initrd", ram, channels)),
        kernel,
        initrd,
    )
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def host_boot() -> str:
    """Return what tells this boot of the host from any other."""
    return _BOOT_ID.read_text("ascii").strip()
