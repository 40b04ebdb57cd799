"""What a run with a seed keeps beside its recording, so that it can be had again: its identity, and what it was given.

The identity is everything that its history follows from. Files are named by their content (SHA-256), not by their
place. What the host gave the guest is a line for each piece of it, with the instruction before which it was given.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import IO, Final

import msgspec
import trio

from ktstr_tui.guest.determinism import Determinism, observer_file
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.qemu import kernel_command_line
from ktstr_tui.guest.qemu_program import choose_qemu
from ktstr_tui.guest.stations import Given, StationedStream
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.port import GuestPort

IDENTITY_FILE: Final = "seed.json"
GIVEN_FILE: Final = "interventions.jsonl"


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
    observer_sha256: str | None
    """None when the run was not observed."""


def identify(spec: MachineSpec, determinism: Determinism) -> Identity:
    """Read what a machine is made of; takes as long as reading the kernel.

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
        observer_sha256=hashlib.sha256(observer_file().read_bytes()).hexdigest() if spec.observed else None,
    )


def write_identity(directory: Path, identity: Identity) -> None:
    """Keep an identity beside the recording.

    Raises:
        OSError: It cannot be written.
    """
    path = directory / IDENTITY_FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")


class Interventions:
    """Writes down what a guest was given; closed by its owner.

    Args:
        directory: Where the file is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / GIVEN_FILE
        self._file: IO[bytes] | None = None
        self.given = 0
        self.lost = 0
        """Pieces that could not be written down."""

    def keep(self, given: Given) -> None:
        """Write one down."""
        self.given += 1
        line = {
            "instructions": given.instructions,
            "port": given.port,
            "data": base64.b64encode(given.data).decode(),
        }
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            self._file.write(msgspec.json.encode(line) + b"\n")
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def drops(self) -> dict[str, int]:
        """Return what was not written down."""
        return {"interventions-unwritten": self.lost}


def speak_at_stations(machine: Machine, outbox: Outbox, port: GuestPort, kept: Interventions) -> None:
    """Let the host speak to the guest of an observed machine at its stations only; nothing for others."""
    stations, bulk = machine.stations, machine.bulk
    if stations is None or not isinstance(bulk, StationedStream):
        return

    async def settle() -> None:
        while not (bulk.drained or port.ended.is_set()):
            await trio.lowlevel.checkpoint()
        await outbox.settled()

    stations.settle, stations.pull, stations.on_given = settle, outbox.pull, kept.keep
