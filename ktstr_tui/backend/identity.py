"""The identity of a run with a seed: everything that its history follows from, kept beside the recording.

Files are named by their content (SHA-256), not by their place.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from ktstr_tui.guest.determinism import Determinism, observer_file
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.qemu import kernel_command_line
from ktstr_tui.guest.qemu_program import choose_qemu
from ktstr_tui.guest.saved_boots import SavedBoot
from ktstr_tui.model.stored import IDENTITY_FILE


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the history of a run follows from."""

    seed: int
    instruction_ns: int
    topology: str
    memory_bytes: int
    command_line: str
    """Of the guest's kernel."""
    qemu: str
    """Its version, as it prints it."""
    kernel_sha256: str
    initramfs_sha256: str
    run_files_sha256: str | None = None
    """Of what the guest was given after its boot; None when all of it was in the initramfs."""
    boot_sha256: str | None = None
    """What the saved boot was like that the run went on from; None when it booted itself."""
    observer_sha256: str | None
    """None when the run was not observed."""


def identify(spec: MachineSpec, determinism: Determinism, boot: SavedBoot | None = None) -> Identity:
    """Read what a machine is made of; takes as long as reading the kernel.

    Args:
        spec: The machine.
        determinism: What its history follows from.
        boot: The saved boot that it goes on from.

    Raises:
        OSError: A file cannot be read.
    """
    initrd = spec.initrd if isinstance(spec.initrd, bytes) else spec.initrd.read_bytes()
    return Identity(
        seed=determinism.seed,
        instruction_ns=determinism.instruction_ns,
        topology=str(spec.topology),
        memory_bytes=spec.memory_bytes,
        command_line=kernel_command_line(spec),
        qemu=choose_qemu().version,
        kernel_sha256=hashlib.sha256(spec.kernel.read_bytes()).hexdigest(),
        initramfs_sha256=hashlib.sha256(initrd).hexdigest(),
        run_files_sha256=None if spec.run_files is None else hashlib.sha256(spec.run_files).hexdigest(),
        boot_sha256=None if boot is None else boot.about.sha256,
        observer_sha256=hashlib.sha256(observer_file().read_bytes()).hexdigest() if spec.observed else None,
    )


def write_identity(directory: Path, identity: Identity) -> None:
    """Keep an identity beside the recording.

    Raises:
        OSError: It cannot be written.
    """
    path = directory / IDENTITY_FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
