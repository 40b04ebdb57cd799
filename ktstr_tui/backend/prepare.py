"""Everything that must be known before a guest starts: kernel, scenario, schedulers, initramfs, accelerator."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from ktstr_tui.backend.again import read_kept
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.edit.command import run_build
from ktstr_tui.backend.limits import require_open_files
from ktstr_tui.backend.prepare_restore import look_up_restore
from ktstr_tui.backend.scheduler_ops import require_timeouts
from ktstr_tui.guest.accel import Verdict, decide_accelerator
from ktstr_tui.guest.determinism import Determinism, why_no_observer
from ktstr_tui.guest.image import KernelImage, require_sched_ext
from ktstr_tui.guest.initramfs import GuestFiles, build_files, guest_artifacts
from ktstr_tui.guest.kernel_config import find_config, has_options
from ktstr_tui.guest.kernels import kernel_of_content, resolve_kernel
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.qemu_program import choose_qemu
from ktstr_tui.guest.ram import check_space
from ktstr_tui.guest.recorder import recorder_arguments
from ktstr_tui.guest.scenario import Scenario, encode_plan, read_scenario
from ktstr_tui.guest.scenario_checks import Offer, check_available
from ktstr_tui.guest.topology_args import node_bytes
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import printable
from ktstr_tui.model.topology import Topology

READS_RUN_FILES = ("X86_IOPL_IOPERM", "PROC_PAGE_MONITOR")
"""What a kernel needs for the guest program to read files that QEMU offers (``native/agent/fwcfg.h``)."""


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A run with everything looked up."""

    kernel: KernelImage
    scenario: Scenario
    files: GuestFiles
    topology: Topology
    verdict: Verdict
    observed: bool = False
    """Whether the machine is to be held by the observer."""
    saves_boot: bool = False
    """Whether the guest may go on from a saved boot, and its boot be saved; of a restored one, whether its machine has
    the devices for it."""
    append: str | None = None
    """What a snapshot's machine had on its kernel's command line; None for a guest that boots."""

    @property
    def step_names(self) -> tuple[str, ...]:
        """The names of the scenario's steps, in order."""
        return tuple(step.name for step in self.scenario.steps)


def _look_up(config: RunConfig) -> tuple[KernelImage, Scenario, GuestFiles]:
    if config.again is not None:
        kept = read_kept(Path(config.again))
        files = GuestFiles(whole=kept.initrd, base=kept.initrd, run=kept.run_files or b"")
        kernel = kernel_of_content(config.kernel or "", kept.identity.kernel_sha256)
        return kernel, kept.scenario, files
    scenario, source = read_scenario(config.scenario)
    if config.keep_attached:
        scenario = _without_early_ends(scenario)
    if config.scheduler is not None:
        words = (config.scheduler, *config.scheduler_args)
        scenario = scenario.with_scheduler(shlex.join(words) if config.scheduler_args else config.scheduler)
    cpus = Topology.parse(config.topology).cpus
    scenario.require_cpus(cpus)
    artifacts = guest_artifacts()
    payloads = {name: resolve_scheduler(name, artifacts) for name in sorted(scenario.schedulers())}
    for payload in payloads.values():
        if payload.kind == "object":
            for file in payload.files.values():
                require_timeouts(payload.name, file.read())
    kernel = require_sched_ext(resolve_kernel(config.kernel))
    built = find_config(kernel)
    known = None if built.origin == "partial" else built.text
    check_available(scenario, source, Offer(cpus=cpus, allow_writes=config.allow_writes, config=known))
    plan = encode_plan(scenario, payloads)
    return kernel, scenario, build_files(artifacts.agent, plan, payloads.values(), config=built.text)


def _without_early_ends(scenario: Scenario) -> Scenario:
    """The same, but no step ends because its scheduler was ejected: it will be loaded again."""
    steps = tuple(msgspec.structs.replace(step, until="duration") for step in scenario.steps)
    return msgspec.structs.replace(scenario, steps=steps)


async def build_first(command: str, note: Callable[[str], None]) -> None:
    """Build the scheduler before the guest that it is for.

    Raises:
        UsageError: It could not be built; what the build printed has been noted.
    """
    note(f"build: {command}")
    result = await run_build(command, None)
    if not result.ok:
        for line in result.log:
            note(f"  {printable(line)}")
        raise UsageError(f"the build failed: {printable(result.headline)}", "what it printed is above")


async def look_up_again(config: RunConfig, prepared: Prepared) -> Prepared:
    """Look up what a new boot of the same run is made of: the scheduler may be another by now.

    Raises:
        UsageError: It is not right any more.
    """
    if config.restore is not None:
        return prepared
    kernel, scenario, files = await trio.to_thread.run_sync(_look_up, config)
    return msgspec.structs.replace(prepared, kernel=kernel, scenario=scenario, files=files)


async def prepare(config: RunConfig, note: Callable[[str], None]) -> Prepared:
    """Look everything up; takes seconds only when an accelerator must be probed.

    Raises:
        UsageError: The scenario, scheduler or kernel named is wrong, the memory too little for the topology, or the
            scheduler could not be built.
        HostError: This host cannot run guests, or not one of this size.
    """
    require_open_files()
    if config.determinism is not None and config.accelerator == "kvm":
        raise UsageError(
            "a run with a seed is emulated: under KVM the host's CPUs and clock decide what happens when",
            "leave out --accel kvm, or --seed and --deterministic",
        )
    if config.build:
        await build_first(config.build, note)
    topology = Topology.parse(config.topology)
    # Before anything takes time: the probe of an accelerator boots a guest of its own.
    memory_bytes = config.memory_mib << 20
    node_bytes(topology, memory_bytes)
    check_space(memory_bytes)
    recorder_arguments(config.recorder, topology.cpus, config.memory_mib)
    if config.restore is not None:
        return await trio.to_thread.run_sync(_restored, Path(config.restore), topology, note)
    kernel, scenario, files = await trio.to_thread.run_sync(_look_up, config)
    note(f"kernel {kernel.release}, scenario {scenario.name}")
    if config.determinism is None:
        verdict, observed = await decide_accelerator(config.accelerator, kernel, files.whole), False
    else:
        verdict, observed = await trio.to_thread.run_sync(verdict_of_seed, config.determinism, note)
    note(f"accelerator: {verdict.reason}")
    return Prepared(
        kernel=kernel,
        scenario=scenario,
        files=files,
        topology=topology,
        verdict=verdict,
        observed=observed,
        saves_boot=saves_boot(config, kernel, verdict, observed=observed),
    )


def _restored(path: Path, topology: Topology, note: Callable[[str], None]) -> Prepared:
    found = look_up_restore(path, note)
    return Prepared(
        kernel=found.kernel,
        scenario=found.scenario,
        files=found.files,
        topology=topology,
        verdict=found.verdict,
        saves_boot=found.has_run_files,
        append=found.machine.append,
    )


def saves_boot(config: RunConfig, kernel: KernelImage, verdict: Verdict, *, observed: bool) -> bool:
    """Whether the guest goes on from a saved boot: where it pays, under emulation, and where it can.

    Its guest program must be able to read the files of the run by itself.
    """
    if config.again is not None:
        return read_kept(Path(config.again)).run_files is not None
    if config.fresh_boot or verdict.accelerator != "tcg":
        return False
    # Without the observer a machine with a seed cannot be stopped, and so not saved, where the host does not choose.
    wanted = observed or config.determinism is None
    return wanted and has_options(find_config(kernel), *READS_RUN_FILES)


def verdict_of_seed(determinism: Determinism, note: Callable[[str], None]) -> tuple[Verdict, bool]:
    """The emulation on one thread, and whether it can be held without being changed."""
    chosen = choose_qemu()
    obstacle = why_no_observer(chosen.program, chosen.version)
    if obstacle is not None:
        note(f"no observer: {obstacle}; the run follows from its seed until something stops it")
    reason = (
        f"TCG (seed {determinism.seed}: time is instructions, {determinism.instruction_ns} ns each"
        f"{'' if obstacle is None else '; no observer, so the first stop leaves the history'})"
    )
    return Verdict("tcg", reason, None, False, obstacle or ""), obstacle is None
