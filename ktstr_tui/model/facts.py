"""What events carry as a whole: the facts of a run, and the counters of its port."""

from __future__ import annotations

import msgspec


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is, fixed at its start."""

    name: str
    run_id: str
    """Random; tells two runs of one name apart."""
    kernel: str
    """Release, such as ``7.2.12+deb14-amd64``."""
    kernel_path: str
    accelerator: str
    accelerator_reason: str
    topology: str
    memory_bytes: int
    scenario: str
    scheduler: str
    """As asked for on the command line."""
    schedulers: tuple[str, ...] | None = None
    """What the scenario loads, by name; None in recordings of older versions."""
    steps: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    """What the scenario says about each step; empty for none."""
    steps_ms: tuple[int, ...] = ()
    """The longest that each of them takes, once its scheduler is attached; empty in recordings of older versions."""
    sample_hz: float = 10.0
    started_wall: str = ""
    host: str = ""
    data_dir: str = ""
    """Where captures and the recording are saved, on the backend's host."""
    duration_s: float | None = None
    last_boot_ms: float | None = None
    """How long the last boot of this kernel took on this host, with this accelerator and topology; None when none was
    measured."""
    build: str = ""
    """The command that makes the scheduler, for a run that builds; empty for none."""
    watched_files: tuple[str, ...] = ()
    """Files whose save loads the scheduler again."""
    allow_writes: bool = False
    """Whether the guest's kernel memory may be written to."""
    seed: int | None = None
    """From which the run's history follows; None for one that depends on the host's clock."""
    instruction_ns: int | None = None
    """Guest time that an instruction takes, in a run with a seed."""
    held_at_ns: int | None = None
    """When the guest is to be frozen, on the run's clock, for a run that is had again up to there."""
    restored_from: str = ""
    """The snapshot that is restored by having its run again up to there, RUN/NAME."""

    @property
    def badge(self) -> str:
        """The accelerator as it is shown beside the run's name."""
        name = self.accelerator.upper()
        return name if self.seed is None else f"{name} seed {self.seed}"


class FrameCounters(msgspec.Struct, frozen=True, kw_only=True):
    """The guest port's counters since boot."""

    received: int = 0
    bytes: int = 0
    crc_bad: int = 0
    unknown: int = 0
    oversized: int = 0
    resyncs: int = 0
    skipped_bytes: int = 0
    residual: int = 0
    payload_bytes: int = 0
    """``bytes == 16 * received + payload_bytes + skipped_bytes + residual``."""
    cut: int = 0
    """Frames that end early because another begins inside them."""
    pad_nonzero: int = 0
    skipped: dict[str, int] = {}
    """``skipped_bytes`` by what was damaged."""
    dropped: dict[str, int] = {}
    """Reason to count."""
    by_type: dict[str, int] = {}
    """Tag name to count."""


class KernelOpPlace(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a kernel operation read or wrote, or meant to."""

    target: str
    address: int | None = None
    """None when it was not found."""
    size_bytes: int | None = None
    before: int | str | None = None
    """What was there: a number up to eight bytes, with its sign where the type has one, else hexadecimal digits.
    Without sign where the type is not known; `before_text` says so. None for what was not reached."""
    after: int | str | None = None
    """What was read back after a write."""
    before_text: str | None = None
    """``before`` by its type: enumerators by name, pointers hexadecimal, ``char`` arrays as text. Without one, a number
    that may be negative is told both ways."""
    after_text: str | None = None
    start_time_ns: int | None = None
    """Of the task whose member it is."""
    comm: str | None = None


class WorkerProgress(msgspec.Struct, frozen=True):
    """One worker of the scenario and how much it has done."""

    pid: int
    comm: str
    iterations: int
