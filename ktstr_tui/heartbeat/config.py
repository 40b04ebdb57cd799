"""What is asked of the heartbeat observers of a run."""

from __future__ import annotations

import re

import msgspec

from ktstr_tui.model.errors import UsageError

DEFAULT_STALL_MS = 2000.0
MAX_PORT = 65535


class BeatsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeat observers of a run."""

    threshold_ms: float = DEFAULT_STALL_MS
    """After which silence a sender is stalled."""
    capacity: int = 256
    """Senders tracked at most in each domain; up to 4096."""
    socket: bool = True
    """Whether programs of this host may beat to the run's Unix socket."""
    udp: str | None = None
    """HOST:PORT to take beats from as UDP datagrams; None for none."""
    accept_network: bool = False
    """Whether that may be an address which other machines can reach."""
    shared_key_file: str | None = None
    """A file with keys of 64 hexadecimal digits, one a line. With keys, UDP beats must be sealed."""
    master_key_file: str | None = None
    max_rate_per_pid: float = 100.0
    """Beats of one host sender in a second; 0 for no limit."""
    max_rate: int = 5000
    """Beats of all host senders in a second; 0 for no limit."""
    capture_on_stall: bool = False
    """Whether a stall of a guest task makes a capture, at most one in ten seconds."""
    metrics_port: int | None = None
    """Loopback port of the metrics; 0 for a free one, None for none."""
    watchdog_s: float | None = None
    """After how many seconds without a look of its observers the backend aborts; None for never."""


def parse_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host is in brackets.

    Raises:
        UsageError: It is not of that form, or the port is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port):
        raise UsageError(f"{address!r} is not HOST:PORT", "write for example 127.0.0.1:7700")
    if int(port) > MAX_PORT:
        raise UsageError(f"{address!r}: a port is at most {MAX_PORT}", "write for example 127.0.0.1:7700")
    return host.strip("[]"), int(port)
