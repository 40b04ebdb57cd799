"""``run``: turns arguments into a `RunConfig` and starts the backend, here or beside the screen."""

from __future__ import annotations

import re

import msgspec

from ktstr_tui.backend.config import DEFAULT_FREEZE_LIMIT_S, Accelerator, RunConfig, Viewers
from ktstr_tui.heartbeat.config import BeatsConfig
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.outputs import SummaryCapture
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import runnable_for
from ktstr_tui.model.topology import Topology
from ktstr_tui.text.drops import drop_words
from ktstr_tui.text.output import print_json, print_line, say

_MEMORY = re.compile(r"(\d+)\s*([KMGT]?)i?B?", re.IGNORECASE)
_UNIT_BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "": 1 << 20}
MIN_MEMORY_MIB = 128


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of ``run`` as typed."""

    scheduler: str | None
    scheduler_args: tuple[str, ...]
    scenario: str | None
    kernel: str | None
    topology: str
    memory: str
    accelerator: str
    name: str | None
    duration_s: float | None
    record: str | None
    sample_hz: float
    captures: int
    early_capture: bool
    boot_deadline_s: float
    append: str
    freeze_limit_s: float = DEFAULT_FREEZE_LIMIT_S
    allow_writes: bool = False
    viewers: str = "control"
    beats: BeatsConfig = BeatsConfig()


def parse_memory_mib(text: str) -> int:
    """``512M``, ``2G`` or a plain number of MiB, as MiB.

    Raises:
        UsageError: It is not a size, or too small to boot a kernel in.
    """
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"memory {text!r} is not a size", "write for example 512M or 2G")
    mib = int(match[1]) * _UNIT_BYTES[match[2].upper()] >> 20
    if mib < MIN_MEMORY_MIB:
        raise UsageError(
            f"memory {text!r} is too small to boot a kernel in", f"give at least {MIN_MEMORY_MIB}M"
        )
    return mib


def to_config(request: RunRequest) -> RunConfig:
    """Check what can be checked without touching the machine.

    Raises:
        UsageError: An argument is wrong.
    """
    if request.scheduler_args and request.scheduler is None:
        raise UsageError(
            f"arguments {' '.join(request.scheduler_args)!r} for a scheduler, but none was given",
            "name the program with --scheduler; its arguments follow after --",
        )
    scenario = request.scenario or ("tour" if request.scheduler is None else "steady")
    accelerator = msgspec.convert(request.accelerator, Accelerator)
    return RunConfig(
        name=request.name,
        kernel=request.kernel,
        scheduler=request.scheduler,
        scheduler_args=request.scheduler_args,
        scenario=scenario,
        topology=str(Topology.parse(request.topology)),
        memory_mib=parse_memory_mib(request.memory),
        accelerator=accelerator,
        sample_hz=request.sample_hz,
        captures=request.captures,
        early_capture=request.early_capture,
        duration_s=request.duration_s,
        boot_deadline_s=request.boot_deadline_s,
        freeze_limit_s=request.freeze_limit_s,
        record=request.record,
        extra_kernel_args=request.append,
        allow_writes=request.allow_writes,
        viewers=msgspec.convert(request.viewers, Viewers),
        beats=request.beats,
    )


def run_command(request: RunRequest, *, headless: bool, as_json: bool) -> None:
    """Run to the end, then leave with the run's exit code.

    Raises:
        SystemExit: Always, with the exit code of the run.
        KtstrError: The run could not begin.
    """
    config = to_config(request)
    if not headless:
        if as_json:
            raise UsageError("--json needs --headless", "add --headless, or drop --json")
        from ktstr_tui.cli.screen import run_with_screen

        raise SystemExit(run_with_screen(config))
    state = _run_here(config)
    if as_json:
        from ktstr_tui.backend.summary import summarize

        print_json(summarize(state))
    else:
        _print_summary(state)
    raise SystemExit(state.ended.exit_code if state.ended else 0)


def _run_here(config: RunConfig) -> RunState:
    import trio

    from ktstr_tui.backend.run_dirs import RunDirs
    from ktstr_tui.backend.session import run_backend

    def ready(place: RunDirs) -> None:
        say(f"run {place.name}: attach with  ktstr-tui attach {place.name}")
        say(f"sockets (for ssh -L): {place.socket_dir}")
        say(f"captures and recording: {place.data_dir}")

    return trio.run(run_backend, config, say, ready)


def _in_words(capture: SummaryCapture) -> str:
    if capture["is_placeholder"]:
        return capture["degraded_reason"] or "failed; see the file"
    task = capture["first_stalled"]
    if task is None:
        return "no runnable task"
    return f"{runnable_for(task['comm'], task['pid'], task['age_ms'])} in {task['dsq']}"


def _print_summary(state: RunState) -> None:
    from ktstr_tui.backend.summary import summarize

    summary = summarize(state)
    boot = f"{summary['boot_ms']:.0f} ms" if summary["boot_ms"] is not None else "never up"
    print_line(
        f"kernel    {summary['kernel']} on {summary['accelerator']}, {summary['topology']}, boot {boot}"
    )
    print_line(f"samples   {summary['samples']} ({summary['samples_unreadable']} unreadable)")
    frames = summary["frames"]
    print_line(
        f"frames    {frames['received']} ({frames['bytes']} bytes, {frames['crc_bad']} with a bad CRC)"
    )
    for entry in summary["captures"]:
        pause = f"{entry['pause_us'] / 1000:.1f} ms" if entry["pause_us"] is not None else "unknown"
        kind = entry["exit_kind"]
        print_line(
            f"capture   {entry['tag']} ({entry['trigger']}, exit_kind {kind}, pause {pause}): {_in_words(entry)}"
        )
    # Both captures of a pair name its file.
    for path, outcome in {it["dual_path"]: it["dual_outcome"] for it in summary["captures"]}.items():
        if path:
            print_line(f"dual      {outcome}: {path}")
    if summary["conclusion"] and summary["conclusion"]["results_path"]:
        print_line(f"results   {summary['conclusion']['results_path']}")
    for reason, count in summary["drops"].items():
        print_line(f"dropped   {count} {drop_words(reason)}")
    print_line(f"ended     {summary['end_reason']} (exit code {summary['exit_code']})")
    ended = state.ended
    if ended is not None and ended.fault:
        for line in ended.console_tail:
            say(f"  {line}")
        if ended.hint:
            say(f"next: {ended.hint}")
