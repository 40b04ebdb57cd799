"""What a run is asked to be, as one value that crosses from the command line to the backend process."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Accelerator: TypeAlias = Literal["auto", "kvm", "tcg"]

DEFAULT_MEMORY_MIB = 512
DEFAULT_TOPOLOGY = "1n1l2c1t"
DEFAULT_SAMPLE_HZ = 10.0
DEFAULT_BOOT_DEADLINE_S = 90.0
DEFAULT_SILENCE_S = 30.0
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


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One run as asked for; nothing in it has been looked up yet."""

    name: str | None = None
    """None takes the scenario's name, with a number when that is taken."""
    kernel: str | None = None
    """A path, a cached release, or None for the current packaged kernel."""
    scheduler: str | None = None
    """Overrides the scenario's schedulers when given."""
    scheduler_args: tuple[str, ...] = ()
    scenario: str = "tour"
    topology: str = DEFAULT_TOPOLOGY
    memory_mib: int = DEFAULT_MEMORY_MIB
    accelerator: Accelerator = "auto"
    sample_hz: float = DEFAULT_SAMPLE_HZ
    """0 turns the sampler off."""
    duration_s: float | None = None
    """Seconds after the guest is up at which the run is ended; None for as long as the scenario lasts."""
    boot_deadline_s: float = DEFAULT_BOOT_DEADLINE_S
    silence_s: float = DEFAULT_SILENCE_S
    """Seconds without a frame from the guest, frozen time excluded, after which it counts as hanging."""
    captures: int = 0
    """Captures to take at even distances through the scenario; at most 64."""
    early_capture: bool = True
    """Whether a capture is taken when a task has waited for half of the watchdog timeout."""
    beats: BeatsConfig = BeatsConfig()
    allow_writes: bool = False
    """Whether the guest's kernel memory may be written to."""
    record: str | None = None
    """Recording file; None for one in the run's data directory."""
    extra_kernel_args: str = ""
