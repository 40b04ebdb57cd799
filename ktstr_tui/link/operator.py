"""Who looks at a run, for its log."""

from __future__ import annotations

import os
import pwd
import socket


def login_at_host() -> str:
    """Name the operator for logs: ``root@build-7``; the number of a user who has no name."""
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        login = f"uid {os.getuid()}"
    return f"{login}@{socket.gethostname()}"
