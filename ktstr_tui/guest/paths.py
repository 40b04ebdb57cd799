"""Where files live: the XDG directories, made private and refused when they are not ours.

The runtime directory holds sockets through which a machine can be stopped and its memory be read, so it is
created with mode 0700 and a directory of another owner, a wider mode or a symbolic link is refused. In
``/tmp`` anybody may have made that name first; checking is the only protection there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ktstr_tui.model.errors import HostError

MAX_SOCKET_PATH_BYTES = 107
"""``sun_path`` of a unix socket holds 108 bytes with the terminating zero."""


def runtime_dir() -> Path:
    """The private directory of sockets: ``$XDG_RUNTIME_DIR/ktstr`` or the nearest equivalent.

    Raises:
        HostError: It cannot be made, or it exists and is not a private directory of this user.
    """
    uid = os.getuid()
    configured = os.environ.get("XDG_RUNTIME_DIR", "")
    per_user = Path(f"/run/user/{uid}")
    if configured:
        return private_dir(Path(configured) / "ktstr")
    if per_user.is_dir():
        return private_dir(per_user / "ktstr")
    return private_dir(Path(f"/tmp/ktstr-{uid}"))


def state_dir() -> Path:
    """Runs, recordings and captures: ``${XDG_STATE_HOME:-~/.local/state}/ktstr-tui``."""
    return _xdg("XDG_STATE_HOME", ".local/state")


def cache_dir() -> Path:
    """What can be fetched or computed again: ``${XDG_CACHE_HOME:-~/.cache}/ktstr-tui``."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def private_dir(path: Path) -> Path:
    """Make ``path`` (mode 0700) when it is missing and check that it is ours alone.

    Returns:
        The same path.

    Raises:
        HostError: It cannot be made, is a symbolic link or no directory, belongs to another user, or lets
            others in.
    """
    hint = "remove it, or point XDG_RUNTIME_DIR at a directory of yours"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise HostError(f"cannot make the directory {path}: {error.strerror}", hint) from error
    if not stat.S_ISDIR(status.st_mode):
        raise HostError(f"{path} is not a directory of its own (a link or a file)", hint)
    if status.st_uid != os.getuid():
        raise HostError(f"{path} belongs to uid {status.st_uid}, not to uid {os.getuid()}", hint)
    if status.st_mode & 0o077:
        raise HostError(
            f"{path} has mode {status.st_mode & 0o777:04o}; others can look in", f"chmod 700 {path}"
        )
    return path


def check_socket_path(path: Path) -> Path:
    """Return ``path`` when a unix socket can have that name.

    Raises:
        HostError: The path is longer than the kernel allows.
    """
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise HostError(
            f"the socket path {path} has {length} bytes; unix sockets allow {MAX_SOCKET_PATH_BYTES}",
            "use a shorter run name or a shorter XDG_RUNTIME_DIR",
        )
    return path


def _xdg(variable: str, fallback: str) -> Path:
    configured = os.environ.get(variable, "")
    # The XDG specification tells to ignore relative paths.
    base = Path(configured) if configured.startswith("/") else Path.home() / fallback
    path = base / "ktstr-tui"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(
            f"cannot make the directory {path}: {error.strerror}", f"set {variable} to a writable directory"
        ) from error
    return path
