"""A newer QEMU for this user alone, when the system has none or an old one (`ktstr_tui.guest.qemu_program`).

It comes as packages from the machine's own release or from its backports, verified with the distribution's
keys, and is unpacked into ``<cache>/qemu/<version>``; the system is left alone and nobody needs root. Where
the system lacks a library that it needs, or has it too old, all its libraries are taken from packages except
the C library, which belongs to the loader. So either all libraries are the system's, kept up to date with it,
or all of them were made for each other; the loader itself is asked which, before and after.

The hard thing is that a library path is inherited. It is set in the last moment, by a small script that
becomes QEMU: nothing that starts QEMU (setpriv, a shell) runs with these libraries, and the script is a
program like any other QEMU.

``python -m ktstr_tui.guest.qemu_fetch`` fetches when there is need and prints the program to be used.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ktstr_tui.guest.apt import AptRoot, machine_archive
from ktstr_tui.guest.debian_version import parse_version
from ktstr_tui.guest.qemu_program import (
    PARALLEL_SINCE,
    PROGRAM,
    Qemu,
    choose_qemu,
    private_home,
    qemu_version,
)
from ktstr_tui.guest.unpack import extract, tail
from ktstr_tui.model.errors import HostError, KtstrError

PACKAGE = "qemu-system-x86"
DATA_PACKAGES = ("qemu-system-data", "seabios")
FIRMWARE = ("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "linuxboot.bin", "pvh.bin")
"""What a q35 without display and network reads: BIOS, its helper for the APIC, and how it enters a kernel."""
MODULES = "usr/lib/*/qemu/accel-tcg-*.so"
"""Ubuntu keeps the emulation in a module, Debian in the program."""
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
C_LIBRARY = "libc6_"
"""How the file name of the C library's package begins."""
TRIAL_TIMEOUT_S = 60
_SCRIPT = """\
#!/bin/sh
# Becomes the QEMU beside this file, with its own firmware, modules and libraries.
here=${0%/*}
export QEMU_MODULE_DIR="$here/modules"
export LD_LIBRARY_PATH="$here/lib"
exec "$here/bin/qemu-system-x86_64" -L "$here/share" "$@"
"""
_LIBRARY = re.compile(r"^\s*(\S+) => (/\S.*) \(0x[0-9a-f]+\)$", re.MULTILINE)

Say = Callable[[str], None]


def ensure(say: Say) -> Qemu:
    """Make sure of a QEMU that emulates on several threads; does nothing when there is one.

    Args:
        say: Receives one line for each step that takes time.

    Raises:
        UsageError: ``KTSTR_QEMU`` names something that does not run.
        HostError: There is none and none can be fetched.
    """
    present = _present()
    if present is not None:
        return present
    home = private_home()
    home.mkdir(mode=0o700, exist_ok=True)
    with _lock(home):
        # Another process may have fetched it in the meantime.
        return _present() or fetch(home, say)


def fetch(home: Path, say: Say) -> Qemu:
    """Fetch the newest QEMU of the release, or of its backports when that one is too old.

    Args:
        home: Gets a directory named after the version, replacing one that is there.
        say: Called with a line about each step.

    Raises:
        HostError: There is none that is new enough, or it could not be downloaded, verified or started.
    """
    archive = machine_archive()
    suites = [f"{archive.codename}{pocket}" for pocket in ("", "-updates", "-backports")]
    say(f"looking for QEMU {'.'.join(map(str, PARALLEL_SINCE))} or newer in {', '.join(suites)}")
    with tempfile.TemporaryDirectory(dir=home, prefix=".work-") as name:
        work = Path(name)
        root = AptRoot(work / "apt", suites, archive)
        root.update(say)
        tree, libraries = _unpack(root, choose_offer(root.candidates(PACKAGE)), work, say)
        return _keep(assemble(tree, libraries, work / "finished"), home)


def choose_offer(offers: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """The version and suite to fetch: of the release rather than of its backports, else the newest.

    Args:
        offers: Pairs of version and suite, newest first.

    Raises:
        HostError: None is new enough.
    """
    fitting = [offer for offer in offers if parse_version(offer[0]) >= PARALLEL_SINCE]
    if not fitting:
        found = ", ".join(f"{version} in {suite}" for version, suite in offers) or "none at all"
        raise HostError(
            f"this release and its backports have no QEMU of 8.1 or newer ({found})",
            "install one yourself and set KTSTR_QEMU to its qemu-system-x86_64",
        )
    return min(fitting, key=lambda offer: offer[1].endswith("-backports"))


def _unpack(root: AptRoot, offer: tuple[str, str], work: Path, say: Say) -> tuple[Path, dict[str, Path]]:
    """Download and unpack QEMU, its firmware and if need be its libraries.

    Returns:
        Where it was unpacked, and the libraries in there that QEMU needs.
    """
    version, suite = offer
    say(f"fetching QEMU {version} from {suite}")
    tree, debs = work / "tree", work / "debs"
    first = [root.download(PACKAGE, debs, version)]
    for package in DATA_PACKAGES:
        beside = any(where == suite for _, where in root.candidates(package))
        first.append(root.download(package, debs, suite=suite if beside else None))
    for deb in first:
        extract(deb, tree)
    libraries, missing = needed_libraries(tree)
    if missing:
        say(f"fetching its libraries, too; this system lacks {len(missing)} of them, such as {missing[0]}")
        for deb in root.download_closure(PACKAGE, debs, version, suite):
            if deb not in first and not deb.name.startswith(C_LIBRARY):
                extract(deb, tree)
        libraries, missing = needed_libraries(tree)
    if missing:
        raise HostError(
            f"QEMU {version} of {suite} cannot run on this system: {'; '.join(missing)}",
            "install QEMU 8.1 or newer yourself and set KTSTR_QEMU to its qemu-system-x86_64",
        )
    return tree, libraries


def needed_libraries(tree: Path) -> tuple[dict[str, Path], list[str]]:
    """Ask the loader what an unpacked QEMU needs.

    Args:
        tree: Directory of unpacked packages.

    Returns:
        The libraries below ``tree`` that it takes, by the name that it looks for; and its complaints, empty
        when everything was found in the tree or on the system.
    """
    # The tree itself has no libraries, but an empty path would let the user's own count.
    directories = [str(tree), *sorted({str(path.parent) for path in tree.rglob("*.so*")})]
    program = str(tree / "usr/bin" / PROGRAM)
    try:
        done = subprocess.run(
            [str(LOADER), "--library-path", ":".join(directories), program],
            env={**os.environ, "LC_ALL": "C", "LD_TRACE_LOADED_OBJECTS": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(
            f"the loader {LOADER} does not answer: {error}", "is this Debian or Ubuntu?"
        ) from error
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    missing = [
        line.removeprefix(f"{program}: ").removesuffix(" => not found")
        for line in said
        if "not found" in line
    ]
    if done.returncode != 0 and not missing:
        missing = [tail(done)]
    found = {name: Path(path) for name, path in _LIBRARY.findall(done.stdout)}
    return {name: path for name, path in found.items() if path.is_relative_to(tree)}, missing


def assemble(tree: Path, libraries: dict[str, Path], into: Path) -> Path:
    """Gather what a guest needs of unpacked packages, and the script that starts it.

    Args:
        tree: Directory of unpacked packages.
        libraries: Files of libraries by the name that QEMU looks for.
        into: Directory to make.

    Returns:
        The script.

    Raises:
        HostError: Firmware is missing in the packages.
    """
    for directory in ("bin", "lib", "modules", "share"):
        (into / directory).mkdir(parents=True)
    shutil.copy2(tree / "usr/bin" / PROGRAM, into / "bin" / PROGRAM)
    for name, path in libraries.items():
        shutil.copyfile(path, into / "lib" / name)
    for path in tree.glob(MODULES):
        shutil.copyfile(path, into / "modules" / path.name)
    for name in FIRMWARE:
        source = next((path for path in sorted(tree.glob(f"usr/share/*/{name}")) if path.is_file()), None)
        if source is None:
            raise HostError(f"the packages of QEMU hold no {name}", "set KTSTR_QEMU to a QEMU of your own")
        shutil.copyfile(source, into / "share" / name)
    script = into / PROGRAM
    script.write_text(_SCRIPT)
    script.chmod(0o755)
    return script


def _keep(script: Path, home: Path) -> Qemu:
    """Start it once, then move it to its place, replacing what is there."""
    version = qemu_version(script)
    _try(script)
    place = home / ".".join(map(str, parse_version(version)))
    shutil.rmtree(place, ignore_errors=True)
    script.parent.rename(place)
    return Qemu(place / PROGRAM, version, "private")


def _try(script: Path) -> None:
    """Start an emulated machine that ends at once, with all symbols of all libraries looked up.

    Raises:
        HostError: It does not start, with what it said.
    """
    options = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "64M"]
    accelerator = ["-accel", "tcg,thread=multi", "-smp", "2"]
    try:
        done = subprocess.run(
            [script, *options, *accelerator, "-S", "-monitor", "stdio"],
            env={**os.environ, "LD_BIND_NOW": "1"},
            input="quit\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(
            f"the fetched QEMU does not start: {error}", "set KTSTR_QEMU to one that does"
        ) from error
    if done.returncode != 0:
        raise HostError(f"the fetched QEMU does not start: {tail(done)}", "set KTSTR_QEMU to one that does")


def _present() -> Qemu | None:
    """The QEMU that would be used, when there is no need for another; one that was asked for is always right."""
    try:
        chosen = choose_qemu()
    except HostError:
        return None
    return chosen if chosen.threads == "multi" or chosen.source == "KTSTR_QEMU" else None


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    with open(home / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Print the program on stdout, everything else on stderr; fails when there is none or only an old one."""

    def say(line: str) -> None:
        print(f"qemu: {line}", file=sys.stderr)

    try:
        print(ensure(say).program)
    except KtstrError as error:
        say(error.message)
        say(error.hint)
        with suppress(KtstrError):
            old = choose_qemu()
            say(f"continuing with QEMU {old.short_version}: its emulation runs all CPUs on one host thread")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
