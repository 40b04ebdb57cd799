"""Limits of the host that a run would otherwise hit halfway, where they look like a guest that does not come up."""

from __future__ import annotations

import resource

from ktstr_tui.model.errors import HostError

MIN_OPEN_FILES = 256
"""What a run with a dozen viewers, and QEMU, which inherits the limit, stay below."""
WANTED_OPEN_FILES = 1024


def require_open_files() -> None:
    """Raise the soft limit of open files as far as needed and allowed.

    Raises:
        HostError: The hard limit is too low for a run.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_OPEN_FILES)
    if most < MIN_OPEN_FILES:
        raise HostError(
            f"this host allows a process {most} open files, and a run needs {MIN_OPEN_FILES}",
            f"raise the limit: ulimit -n {WANTED_OPEN_FILES}",
        )
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
