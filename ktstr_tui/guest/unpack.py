"""Unpack what was downloaded, with programs whose errors say what went wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ktstr_tui.model.errors import HostError


def extract(deb: Path, into: Path) -> None:
    """Unpack the files of a package into a directory, made when missing.

    Raises:
        HostError: The file is no package, or the disk is full.
    """
    into.mkdir(parents=True, exist_ok=True)
    run_checked(["dpkg-deb", "-x", str(deb), str(into)], f"cannot unpack {deb.name}")


def unpack_tarball(tarball: Path, into: Path) -> Path:
    """Unpack a source tarball and return its single top directory.

    Raises:
        HostError: ``tar`` failed, or the tarball has no single top directory.
    """
    into.mkdir(parents=True, exist_ok=True)
    run_checked(["tar", "-xf", str(tarball), "-C", str(into)], f"cannot unpack {tarball.name}")
    tops = list(into.iterdir())
    if len(tops) != 1:
        raise HostError(f"{tarball.name} has {len(tops)} top directories instead of one", "try again")
    return tops[0]


def run_checked(command: Sequence[str], what: str) -> None:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        what: What could not be done when it fails, the beginning of the error.

    Raises:
        HostError: The program is missing or failed; carries the last lines of what it said.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise HostError(f"{what}: {command[0]} is not on this machine", f"install {command[0]}") from None
    if done.returncode != 0:
        raise HostError(f"{what}: {tail(done)}", "check the free disk space, then try again")


def tail(done: subprocess.CompletedProcess[str], lines: int = 4) -> str:
    """The last lines of what a program said, in one line."""
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return "; ".join(said[-lines:]) or f"exit status {done.returncode}"
