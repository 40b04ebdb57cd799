"""The lock that a run holds for as long as it lives, and who holds it.

It is looked for in ``/proc/locks`` and never tried: a run that starts at that moment would find it taken, and leave.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LOCKS = Path("/proc/locks")
_PROC = Path("/proc")


def lock_file(socket_dir: Path) -> Path:
    """The file that the run with this directory of sockets locks; beside it, since it is never removed."""
    return socket_dir.with_name(f".{socket_dir.name}.lock")


def lock_holder(socket_dir: Path) -> int | None:
    """The process that holds the lock of a run; None when none does, or none that can be seen from here."""
    try:
        status = lock_file(socket_dir).stat()
        lines = _LOCKS.read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF; an arrow before the kind is somebody who waits.
        _, kind, _, access, pid, file, *_ = line.split()
        same = kind == "FLOCK" and access == "WRITE" and file.rpartition(":")[2] == str(status.st_ino)
        # The device that is printed may be another than `stat` says, so that the number alone is not enough.
        if same and _has_open(int(pid), status):
            return int(pid)
    return None


def _has_open(pid: int, status: os.stat_result) -> bool:
    with suppress(OSError):
        for it in (_PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(it.stat(), status):
                    return True
    return False
