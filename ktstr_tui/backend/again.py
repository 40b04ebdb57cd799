"""What a run with a seed keeps of itself so that it can be had again, and the check that it is the same one.

Kept are what was asked for, the scenario and the initramfs (with scheduler, guest program and plan): whatever becomes
of those files, the run can be had again. The kernel and QEMU are too big to keep; their hash and version say whether
they are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.identity import Identity
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.scenario import Scenario
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.text.times import nanoseconds

CONFIG_FILE: Final = "config.json"
SCENARIO_FILE: Final = "scenario.json"
INITRAMFS_FILE: Final = "initramfs"
RUN_FILES_FILE: Final = "run-files"
"""Only of a run that went on from a saved boot."""
KEPT_FILES: Final = (IDENTITY_FILE, CONFIG_FILE, SCENARIO_FILE, INITRAMFS_FILE)
MAX_KEPT_BYTES: Final = 256 << 20
_WORDS = {
    "seed": "the seed",
    "instruction_ns": "the time of an instruction",
    "topology": "the topology",
    "memory_bytes": "the memory",
    "command_line": "the kernel's command line",
    "qemu": "QEMU",
    "kernel_sha256": "the kernel",
    "initramfs_sha256": "the initramfs",
    "run_files_sha256": "the files of the run",
    "boot_sha256": "the saved boot",
    "observer_sha256": "the observer plugin",
}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A run that can be had again."""

    config: RunConfig
    scenario: Scenario
    initrd: bytes
    identity: Identity
    run_files: bytes | None = None
    """Given to the guest after its saved boot; None when all of it was in the initramfs."""


def keep_inputs(directory: Path, config: RunConfig, scenario: Scenario, machine: MachineSpec) -> None:
    """Keep what a run is made of, beside its recording.

    Raises:
        OSError: It cannot be written.
    """
    kept = msgspec.structs.replace(config.of_no_run(), kernel=str(machine.kernel.absolute()))
    (directory / CONFIG_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    (directory / SCENARIO_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(scenario)) + b"\n")
    initrd = machine.initrd if isinstance(machine.initrd, bytes) else machine.initrd.read_bytes()
    (directory / INITRAMFS_FILE).write_bytes(initrd)
    if machine.run_files is not None:
        (directory / RUN_FILES_FILE).write_bytes(machine.run_files)


def read_kept(directory: Path) -> Kept:
    """Read what a run has kept.

    Raises:
        UsageError: It had no seed, or what it kept is missing or damaged.
    """
    if not (directory / IDENTITY_FILE).is_file():
        raise UsageError(
            f"the run in {directory} had no seed, so it cannot be repeated",
            "start it with run --seed N or --deterministic",
        )
    try:
        if any((directory / name).stat().st_size > MAX_KEPT_BYTES for name in KEPT_FILES):
            raise UsageError(f"what {directory} keeps is too large", "it was not made by this program")
        run_files = directory / RUN_FILES_FILE
        kept = Kept(
            config=msgspec.json.decode((directory / CONFIG_FILE).read_bytes(), type=RunConfig),
            scenario=msgspec.json.decode((directory / SCENARIO_FILE).read_bytes(), type=Scenario),
            initrd=(directory / INITRAMFS_FILE).read_bytes(),
            identity=msgspec.json.decode((directory / IDENTITY_FILE).read_bytes(), type=Identity),
            run_files=run_files.read_bytes() if run_files.is_file() else None,
        )
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"what {directory} keeps cannot be read: {error}", "take another run") from error
    if hashlib.sha256(kept.initrd).hexdigest() != kept.identity.initramfs_sha256:
        raise UsageError(f"{directory / INITRAMFS_FILE} is not what the run was made of", "take another run")
    given = None if kept.run_files is None else hashlib.sha256(kept.run_files).hexdigest()
    if given != kept.identity.run_files_sha256:
        raise UsageError(f"{directory / RUN_FILES_FILE} is not what the run was made of", "take another run")
    return kept


def config_again(kept: Kept) -> RunConfig:
    """What is asked for to have a run again."""
    identity = kept.identity
    return msgspec.structs.replace(
        kept.config.of_no_run(),
        accelerator="auto",
        determinism=Determinism(identity.seed, identity.instruction_ns),
        topology=identity.topology,
        memory_mib=identity.memory_bytes >> 20,
        keeps_pace=False,
    )


def require_same(before: Identity, now: Identity) -> None:
    """Check that what is about to run is what ran before.

    Raises:
        HostError: Something differs; all of it is named.
    """
    differs = differences(before, now)
    if differs:
        raise HostError(
            f"this would not be the same run: {'; '.join(differs)}",
            "install what the run was made with, or start another run with the same seed",
        )


def differences(before: Identity, now: Identity) -> list[str]:
    """In what two runs differ, in words."""
    names = [it for it in Identity.__struct_fields__ if getattr(before, it) != getattr(now, it)]
    return [_difference(it, getattr(before, it), getattr(now, it)) for it in names]


def _difference(name: str, before: object, now: object) -> str:
    short = [str(it)[:12] if name.endswith("_sha256") else str(it) for it in (before, now)]
    return f"{_WORDS[name]} was {short[0]} and is {short[1]}"


def seconds(words: Iterable[str]) -> tuple[int, ...]:
    """Times such as ``12.5``, ``12.5s`` or ``500ms``, in nanoseconds.

    Raises:
        UsageError: One of them is no time.
    """
    return tuple(map(nanoseconds, words))
