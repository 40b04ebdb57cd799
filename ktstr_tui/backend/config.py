"""What a run is asked to be, as one value that crosses from the command line to the backend process."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.recorder import RecorderConfig
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.signing import Operator
from ktstr_tui.wire.kernel_ops import KernelOp

Viewers: TypeAlias = Literal["control", "observe"]
Accelerator: TypeAlias = Literal["auto", "kvm", "tcg"]

DEFAULT_MEMORY_MIB = 512
DEFAULT_TOPOLOGY = "1n1l2c1t"
DEFAULT_SAMPLE_HZ = 10.0
DEFAULT_BOOT_DEADLINE_S = 90.0
DEFAULT_SILENCE_S = 30.0
DEFAULT_FREEZE_LIMIT_S = 600.0
DEFAULT_RUNS_LIMIT_MIB = 10 << 10
DEFAULT_SNAPSHOTS_LIMIT_MIB = 8 << 10

OnExit: TypeAlias = Literal["end", "keep"]


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
    build: str = ""
    """Command of the shell that makes the scheduler; empty for none."""
    watch_files: tuple[str, ...] = ()
    """Files whose save builds and loads it again; none takes the sources beside it when there is a command."""
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
    freeze_limit_s: float = DEFAULT_FREEZE_LIMIT_S
    """Seconds that the guest may stay frozen while no viewer is attached; 0 for as long as it likes."""
    captures: int = 0
    """Captures to take at even distances through the scenario; at most 64."""
    early_capture: bool = True
    """Whether a capture is taken when a task has waited for half of the watchdog timeout."""
    memory_on_ejection: bool = False
    """Whether the capture of an ejection keeps the guest's memory."""
    beats: BeatsConfig = BeatsConfig()
    alarms: AlarmLimits = AlarmLimits()
    """How long something may last before it is an early alarm; what is None here the scenario decides."""
    capture_on_alarm: bool = False
    """Whether early alarms make captures."""
    keep_attached: bool = False
    """Whether a scheduler that was ejected is loaded again, after a wait that doubles."""
    run_dir: str | None = None
    """Directory of an earlier run that is used again; None for a new one."""
    allow_writes: bool = False
    """Whether the guest's kernel memory may be written to."""
    viewers: Viewers = "control"
    """Whether viewers may touch the run, or only observe it."""
    operators: tuple[Operator, ...] = ()
    """Whose signature a command needs; nobody's when there are none."""
    require_operators: int = 0
    """How many of them a dangerous command needs, with a dry run; 0 makes it a command like any other."""
    owner_pid: int = 0
    """The process of the screen that started the run; 0 when there is none."""
    on_exit: OnExit = "keep"
    """What to do when that process ends and nobody chose: end the run, or keep it and say that nobody looks."""
    record: str | None = None
    """Recording file; None for one in the run's data directory."""
    record_trace: bool = True
    """Whether the recording keeps what the guest's kernel records."""
    runs_limit_mib: int = DEFAULT_RUNS_LIMIT_MIB
    """Disk for the data of all runs, checked at the start of one; 0 for no limit."""
    snapshots_limit_mib: int = DEFAULT_SNAPSHOTS_LIMIT_MIB
    """Disk for the snapshots of the run, checked after each; 0 for no limit."""
    recorder: RecorderConfig = RecorderConfig()
    """What the guest's kernel records of itself."""
    bpf_stats: bool = False
    """Whether the guest's kernel counts runs of BPF programs."""
    extra_kernel_args: str = ""
    fresh_boot: bool = False
    """Whether to boot the kernel even where a saved boot of the same machine is there."""
    determinism: Determinism | None = None
    """Given for a run whose history follows from a seed."""
    draws_seed: bool = True
    """Whether a seed is drawn where none is given and the run can have one (`ktstr_tui.backend.drawn_seed`)."""
    keeps_pace: bool = False
    """Whether the guest's time, in a run with a seed, may not run ahead of the host's."""
    again: str | None = None
    """Directory of the run that this one is to be again."""
    without: tuple[int, ...] = ()
    """Interventions of that run, by number, that are left out."""
    debugger_fd: int | None = None
    """One end of a socket whose other end has the run again for a debugger: the guest waits for it at its first
    instructions, and the run ends with it."""
    freeze_at_ns: int | None = None
    """When to freeze the guest, on the run's clock."""
    restores_again: bool = False
    """Whether that is to restore a snapshot: the guest is changed as one that starts from it, and goes on."""
    restored_from: str = ""
    """The snapshot that is so restored, RUN/NAME."""
    captures_at_ns: tuple[int, ...] = ()
    """When to capture it."""
    restore: str | None = None
    """File of the snapshot that the guest starts from."""
    restore_lazily: bool = True
    """Whether the memory of a restored guest is loaded when it is touched, where this host permits it."""
    sets: tuple[KernelOp, ...] = ()
    """What is written to the kernel of a restored guest before it runs."""
    stay_frozen: bool = False
    """Whether a restored guest stays frozen until somebody thaws it."""
    replace_scheduler: str | None = None
    """BPF object that takes the place of a restored guest's scheduler as soon as it runs."""
    watches: tuple[str, ...] = ()
    """Expressions to watch from the moment at which memory can be read by type."""

    def of_no_run(self) -> RunConfig:
        """The same without what is of one run alone: its name and files, its processes, how its scheduler is built."""
        return msgspec.structs.replace(
            self,
            name=None,
            record=None,
            run_dir=None,
            owner_pid=0,
            debugger_fd=None,
            build="",
            watch_files=(),
        )

    @property
    def watched_later(self) -> bool:
        """Whether nobody looks at the guest until it comes to an instant that was asked for, or ever."""
        return self.freeze_at_ns is not None or self.debugger_fd is not None

    @property
    def edits(self) -> bool:
        """Whether the scheduler is to be loaded again when it changes."""
        return bool(self.build or self.watch_files)

    @property
    def why_no_early(self) -> str | None:
        """Why no early captures are taken; None when they are."""
        if not self.early_capture:
            return "early captures are turned off"
        return "the sampler is off" if self.sample_hz == 0 else None
