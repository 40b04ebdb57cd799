"""Which QEMU runs the guests.

Any QEMU can, but one before 8.1 must emulate all vCPUs on one host thread, however many (see `tcg_threads`). So a
*private* one, fetched by ``ktstr_tui.guest.qemu_fetch`` into the user's cache, is preferred to an old one of the
system. In order: ``$KTSTR_QEMU``, the system's when it is new enough, the private one, the system's old one.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal, cast, get_args

import msgspec

from ktstr_tui.guest.debian_version import parse_version
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.model.errors import HostError, UsageError

PROGRAM = "qemu-system-x86_64"
PARALLEL_SINCE = (8, 1)
"""The first version (major, minor) that emulates on several threads without losing writes to code."""
SINGLE_UP_TO = 4
"""vCPUs of the largest guest that is emulated on one thread wherever it runs."""
FETCH_HINT = f"run {sys.executable} -m ktstr_tui.guest.qemu_fetch, which fetches a newer one without root"

Threads = Literal["multi", "single"]


class Qemu(msgspec.Struct, frozen=True):
    """A QEMU that was found and that runs."""

    program: Path
    version: str
    """As it prints it, such as ``7.2.22 (Debian …)``."""
    source: Literal["KTSTR_QEMU", "system", "private"]

    @property
    def threads(self) -> Threads:
        """How many host threads may emulate its vCPUs."""
        return tcg_threads(self.version)

    @property
    def short_version(self) -> str:
        """The version without what its packager adds."""
        return self.version.partition(" ")[0]


def choose_qemu() -> Qemu:
    """The QEMU to run guests with.

    Raises:
        UsageError: ``KTSTR_QEMU`` names something that does not run.
        HostError: There is none that runs.
    """
    chosen = os.environ.get("KTSTR_QEMU", "")
    if chosen:
        return _chosen(chosen)
    problems: list[str] = []
    old: Qemu | None = None
    system = shutil.which(PROGRAM)
    if system is not None:
        try:
            old = Qemu(Path(system), qemu_version(Path(system)), "system")
        except HostError as error:
            problems.append(error.message)
        if old is not None and old.threads == "multi":
            return old
    for program in private_programs():
        try:
            return Qemu(program, qemu_version(program), "private")
        except HostError as error:
            problems.append(error.message)
    if old is not None:
        return old
    raise HostError(
        "; ".join(problems) or f"{PROGRAM} is not installed",
        f"{FETCH_HINT}; or apt install qemu-system-x86",
    )


def find_qemu() -> Path:
    """The program of `choose_qemu`; raises as it does."""
    return choose_qemu().program


def private_home() -> Path:
    """Where private ones are kept, each in a directory named after its version."""
    return cache_dir() / "qemu"


def private_programs() -> list[Path]:
    """Private ones, newest version first."""
    home = private_home()
    found = [path / PROGRAM for path in home.iterdir()] if home.is_dir() else []
    programs = [path for path in found if parse_version(path.parent.name) and path.is_file()]
    return sorted(programs, key=lambda path: parse_version(path.parent.name), reverse=True)


@functools.cache
def qemu_version(program: Path) -> str:
    """The version as QEMU prints it, such as ``7.2.22 (Debian …)``.

    Raises:
        HostError: The program cannot be run.
    """
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"{program} cannot be run: {error}", FETCH_HINT) from error
    if result.returncode != 0:
        said = result.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit status {result.returncode}"
        raise HostError(f"{program} cannot be run: {reason}", FETCH_HINT)
    return result.stdout.partition("\n")[0].removeprefix("QEMU emulator version ").strip()


def tcg_threads(version: str) -> Threads:
    """How many host threads a QEMU may use to emulate vCPUs: one each, or only one for all of them.

    The kernel patches its own code while other CPUs run it (static keys, trampolines), by way of an int3.
    QEMU before 8.1 reads code without holding its page, so it can keep a translation of the int3 that another
    vCPU is just removing; the guest then dies in "Oops: int3". Measured with 7.2 on two busy cores: 1 boot of
    20 with two vCPUs, 1 of 4 with sixteen. A rarer case of the same defect is left in 10.0: see `threads_for`.
    """
    return "multi" if parse_version(version) >= PARALLEL_SINCE else "single"


def threads_for(version: str, vcpus: int) -> Threads:
    """How many host threads emulate a guest of so many vCPUs; ``KTSTR_TCG_THREADS`` overrules.

    With a thread for each vCPU, QEMU 10.0 still runs an int3 that the kernel has removed when the host preempts the
    thread that removes it: 1 boot of about 450 died of it with two vCPUs on two busy cores, and 1 of about 30 loads
    of a scheduler when something of a higher priority ran beside it. On one thread the vCPUs take turns at every
    interrupt, and nothing is ever removed under the feet of another.

    Threads that share host CPUs gain nothing either, because they wait for each other. Boots on two cores, a thread
    each against one for all: 8 vCPUs 7.1 and 5.5 s, 16 vCPUs 13.2 and 6.7 s, 32 vCPUs 33.6 and 8.8 s; 2 vCPUs alike.
    So there is a thread for each where each has a host CPU, which also makes the defect rare, and where the guest is
    so large that it pays.

    Raises:
        UsageError: ``KTSTR_TCG_THREADS`` is something else than ``multi`` or ``single``.
    """
    asked = os.environ.get("KTSTR_TCG_THREADS", "")
    if asked and asked not in get_args(Threads):
        raise UsageError(f"KTSTR_TCG_THREADS={asked} is neither multi nor single", "set it to one of them")
    if asked:
        return cast("Threads", asked)
    if vcpus <= SINGLE_UP_TO or vcpus > len(os.sched_getaffinity(0)):
        return "single"
    return tcg_threads(version)


def _chosen(name: str) -> Qemu:
    found = shutil.which(name)
    if found is None:
        raise UsageError(
            f"KTSTR_QEMU={name} is not a program", "point it at a qemu-system-x86_64, or unset it"
        )
    try:
        return Qemu(Path(found), qemu_version(Path(found)), "KTSTR_QEMU")
    except HostError as error:
        raise UsageError(f"KTSTR_QEMU: {error.message}", "point it at one that runs, or unset it") from error
