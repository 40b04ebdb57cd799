"""What ``run`` can be told on the command line, as one record instead of a function with thirty parameters.

typer makes options of a function's parameters. `from_options` shows it the fields of a dataclass as if they were the
parameters, and hands the function the record; so an option is declared once, beside its help, in the order in which
``--help`` lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ktstr_tui.backend.config import (
    DEFAULT_BOOT_DEADLINE_S,
    DEFAULT_FREEZE_LIMIT_S,
    DEFAULT_MEMORY_MIB,
    DEFAULT_SAMPLE_HZ,
    DEFAULT_TOPOLOGY,
    RunConfig,
)
from ktstr_tui.cli.alarm_options import AlarmOptions
from ktstr_tui.cli.beat_options import BeatOptions
from ktstr_tui.cli.disk_options import DiskOptions
from ktstr_tui.cli.run_arguments import AsJson, Headless, NewName, Theme
from ktstr_tui.cli.run_choices import (
    MAX_S,
    Accel,
    BpfStats,
    OnExitChoice,
    RecordTrace,
    TraceChoice,
    ViewersMay,
    recorder_of,
)
from ktstr_tui.guest.determinism import (
    DEFAULT_INSTRUCTION_NS,
    DRAWN_UP_TO,
    MAX_INSTRUCTION_NS,
    MAX_SEED,
)
from ktstr_tui.guest.recorder import DEFAULT_BUFFER_KIB
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.signing import MAX_SIGNATURES
from ktstr_tui.model.topology import MAX_CPUS, Topology


@dataclass(frozen=True, kw_only=True)
class RunOptions(AlarmOptions, DiskOptions, BeatOptions):
    """The command line of ``run`` as typer read it."""

    scheduler_args: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- ARGUMENT...", help="After --: arguments of the scheduler program."),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            "-s",
            metavar="NAME|FILE",
            help="none, demo:fifo|race|stall|starve, a .bpf.o, or a scheduler program.",
        ),
    ] = None
    build: Annotated[
        str | None,
        typer.Option(
            "--build",
            metavar="COMMAND",
            help="Shell command that makes the scheduler; run first, at every save, and with the key r.",
        ),
    ] = None
    watch_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch-file",
            metavar="PATH",
            help="File whose save builds the scheduler and loads it into the running guest; may be repeated. "
            "[default with --build: the sources beside the scheduler]",
        ),
    ] = None
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario",
            metavar="NAME|FILE",
            help="A packaged scenario or a TOML file. [default: tour, or steady with --scheduler]",
        ),
    ] = None
    kernel: Annotated[
        str | None, typer.Option("--kernel", "-k", help="bzImage, vmlinux, build tree, or cached release.")
    ] = None
    topology: Annotated[
        str, typer.Option("--topology", "-t", help="NUMA nodes, LLCs, cores per LLC, threads per core.")
    ] = DEFAULT_TOPOLOGY
    cpus: Annotated[
        int | None,
        typer.Option(
            "--cpus", min=1, max=MAX_CPUS, help="Number of CPUs that share one LLC, in place of --topology."
        ),
    ] = None
    memory: Annotated[str, typer.Option("--memory", "-m", help="Guest memory, such as 512M or 2G.")] = (
        f"{DEFAULT_MEMORY_MIB}M"
    )
    accel: Annotated[Accel, typer.Option("--accel", help="auto boots a probe to decide.")] = Accel.auto
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=MAX_SEED,
            help="Emulate so that the whole run follows from this number: time is instructions, not the host's clock. "
            f"[default: one is drawn where KVM cannot be used and the guest has no more than {DRAWN_UP_TO} CPUs]",
        ),
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic/--no-seed",
            help="Have a seed drawn whatever the guest's size, or have none.",
            show_default=False,
        ),
    ] = None
    instruction_ns: Annotated[
        int,
        typer.Option(
            "--instruction-ns",
            min=1,
            max=MAX_INSTRUCTION_NS,
            help="Guest time of an instruction in a run with a seed; a power of two.",
        ),
    ] = DEFAULT_INSTRUCTION_NS
    fresh_boot: Annotated[
        bool,
        typer.Option(
            "--fresh-boot/--saved-boot",
            help="Boot the kernel even when a saved boot of the same machine exists.",
        ),
    ] = False
    name: NewName = None
    headless: Headless = False
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration", min=0.1, max=MAX_S, help="End the run this many seconds after the guest is up."
        ),
    ] = None
    record: Annotated[
        Path | None, typer.Option("--record", help="Recording file. [default: in the run's data]")
    ] = None
    sample_hz: Annotated[
        float, typer.Option("--hz", min=0, max=1000, help="Samples per second; 0 turns the sampler off.")
    ] = DEFAULT_SAMPLE_HZ
    captures: Annotated[
        int,
        typer.Option(
            "--captures", min=0, max=64, help="Number of captures to spread evenly over the scenario."
        ),
    ] = 0
    early_capture: Annotated[
        bool,
        typer.Option(help="Also capture when a task has waited for half of the watchdog timeout."),
    ] = True
    memory_on_ejection: Annotated[
        bool,
        typer.Option(
            "--memory-on-ejection/--no-memory-on-ejection",
            help="Keep the guest's memory with the capture of an ejection, as a snapshot.",
        ),
    ] = False
    boot_deadline: Annotated[
        float,
        typer.Option("--boot-deadline", min=1, max=MAX_S, help="Seconds within which the guest must be up."),
    ] = DEFAULT_BOOT_DEADLINE_S
    freeze_limit: Annotated[
        float,
        typer.Option(
            "--freeze-limit",
            min=0,
            max=MAX_S,
            help="Seconds after which a frozen guest without a viewer is thawed; 0 for no limit.",
        ),
    ] = DEFAULT_FREEZE_LIMIT_S
    pause: Annotated[
        bool,
        typer.Option(
            help="On the screen: freeze the guest before each step that the scenario explains, until a key is pressed."
        ),
    ] = True
    keep_attached: Annotated[
        bool,
        typer.Option(
            "--keep-attached/--no-keep-attached",
            help="Load an ejected scheduler again, after a wait that doubles.",
        ),
    ] = False
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="Use the data directory of a killed run again.")
    ] = None
    allow_writes: Annotated[
        bool,
        typer.Option(
            "--allow-writes/--no-allow-writes", help="Allow writes to the guest's kernel memory (op write)."
        ),
    ] = False
    viewers: Annotated[
        ViewersMay, typer.Option("--viewers", help="What viewers may do: control the run, or observe it.")
    ] = ViewersMay.control
    operators: Annotated[
        Path | None, typer.Option("--operators", help="List of operators; commands must be signed by one.")
    ] = None
    require_operators: Annotated[
        int,
        typer.Option(
            "--require-operators", min=0, max=MAX_SIGNATURES, help="How many sign a dangerous command."
        ),
    ] = 0
    on_exit: Annotated[
        OnExitChoice,
        typer.Option(
            "--on-exit",
            help="When the screen is killed or its terminal closed: end the run, or keep it going.",
        ),
    ] = OnExitChoice.keep
    theme: Theme = None
    trace: Annotated[
        TraceChoice,
        typer.Option(
            "--trace",
            help="What the guest's kernel records of the last seconds: switches, wakeups and migrations (sched), "
            "also what goes into and out of DSQs (scx, slower), or nothing (off).",
        ),
    ] = TraceChoice.sched
    trace_events: Annotated[
        str,
        typer.Option(
            "--trace-events",
            metavar="SYSTEM:NAME,...",
            help="More of the kernel's trace events to record, such as irq:softirq_raise.",
        ),
    ] = ""
    trace_buffer: Annotated[
        str | None,
        typer.Option(
            "--trace-buffer",
            metavar="SIZE",
            help="Guest memory per CPU for what is recorded, such as 512K or 4M. "
            f"[default: {DEFAULT_BUFFER_KIB}K, less in a small guest with many CPUs]",
        ),
    ] = None
    record_trace: RecordTrace = True
    bpf_stats: BpfStats = False
    append: Annotated[str, typer.Option("--append", help="Extra kernel command-line arguments.")] = ""
    as_json: AsJson = False

    def to_config(self) -> RunConfig:
        """Return what is asked of the backend, after checking what needs no look at the machine.

        Raises:
            UsageError: An argument is wrong.
        """
        from ktstr_tui.cli.memory_size import parse_memory_mib
        from ktstr_tui.cli.run_checks import check_edit, determinism_of, operators_in

        if self.scheduler_args and self.scheduler is None:
            raise UsageError(
                f"arguments {' '.join(self.scheduler_args)!r} for a scheduler, but none was given",
                "name the program with --scheduler; its arguments follow after --",
            )
        check_edit(self.build, bool(self.watch_file), self.scheduler)
        return RunConfig(
            name=self.name,
            kernel=self.kernel,
            scheduler=self.scheduler,
            scheduler_args=tuple(self.scheduler_args or ()),
            build=self.build or "",
            watch_files=tuple(str(path.absolute()) for path in self.watch_file or ()),
            scenario=self.scenario or ("tour" if self.scheduler is None else "steady"),
            topology=str(Topology.of_cpus(self.cpus) if self.cpus else Topology.parse(self.topology)),
            memory_mib=parse_memory_mib(self.memory),
            accelerator=self.accel.value,
            sample_hz=self.sample_hz,
            duration_s=self.duration,
            boot_deadline_s=self.boot_deadline,
            freeze_limit_s=self.freeze_limit,
            captures=self.captures,
            early_capture=self.early_capture,
            memory_on_ejection=self.memory_on_ejection,
            beats=self.beats(),
            alarms=self.alarms(),
            capture_on_alarm=self.capture_on_alarm,
            keep_attached=self.keep_attached,
            run_dir=str(self.run_dir.absolute()) if self.run_dir else None,
            allow_writes=self.allow_writes,
            viewers=self.viewers.value,
            operators=operators_in(self.operators, self.require_operators),
            require_operators=self.require_operators,
            on_exit=self.on_exit.value,
            record=str(self.record.absolute()) if self.record else None,
            record_trace=self.record_trace,
            recorder=recorder_of(self.trace, self.trace_events, self.trace_buffer),
            bpf_stats=self.bpf_stats,
            extra_kernel_args=self.append,
            fresh_boot=self.fresh_boot,
            determinism=determinism_of(
                self.seed,
                bool(self.deterministic),
                self.instruction_ns,
                kvm=self.accel is Accel.kvm,
            ),
            draws_seed=self.deterministic is None,
            runs_limit_mib=self.runs_limit_mib(),
            snapshots_limit_mib=self.snapshots_limit_mib(),
        )
