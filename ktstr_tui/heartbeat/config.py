"""What is asked of the heartbeat observers of a run."""

from __future__ import annotations

import msgspec

DEFAULT_STALL_MS = 2000.0


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
