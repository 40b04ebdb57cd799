"""The saved boot from which runs with a seed go on: always the same one, so that a run follows from its seed alone.

It is made by a machine of its own, which boots with a fixed seed and ends. A run, the first one too, only ever goes on
from what was saved: a machine that went on after its own boot would have another history, as the turns of its vCPUs
would stand elsewhere. The boot follows from its fixed seed as a run does, so the same machine elsewhere makes the same
boot; its hash is part of the identity of a run, which says whether it did.

The hard thing is to stop the machine at an instant that the host does not choose. QEMU's ``stop`` is given while the
observer holds the machine at a station, and it is released only when QEMU's main thread waits for the vCPUs: then they
stop at the end of the block that is being executed, always the same. Loading needs the same care, twice: QEMU must
leave no timer of the host's clock behind (`machine_state`), and the guest is held at its first instructions until
everybody who looks at it is there (`Stations.gate`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import trio

from ktstr_tui.guest.boot import HERE, write_machine
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.ram import data_ranges
from ktstr_tui.guest.saved_boots import About, SavedBoot, SavedBoots, boot_key, host_boot
from ktstr_tui.model.errors import GuestError, InternalError, sole_error

BOOT_SEED: Final = 1
BOOT_WITHIN_S: Final = 300.0
WAITS_WITHIN_S: Final = 5.0
LOOK_S: Final = 0.002
BLIND_S: Final = 0.2
"""How long QEMU's main thread is given where it cannot be seen what it does."""
PAGE_BYTES: Final = 4096
_SYS_FUTEX = b"202"
_ZEROS = bytes(PAGE_BYTES)
_NO_FILES = b"\0"


Watch: TypeAlias = Callable[[Machine], Awaitable[None]]
"""Looks at a machine while it boots, and is cancelled when it has; must not touch it."""


async def _look_away(machine: Machine) -> None:
    del machine
    await trio.lowlevel.checkpoint()


async def find_or_make(spec: MachineSpec, watch: Watch = _look_away) -> SavedBoot:
    """Return the boot of a machine with a seed; the first time it is made, which takes as long as a boot.

    Args:
        spec: The machine.
        watch: Looks at the machine that makes it; not called where there is one.

    Raises:
        GuestError: The guest ended, or did not come so far.
        HostError: QEMU did not start.
        OSError: It cannot be written.
    """
    boots, ours = SavedBoots(), _boot_spec(spec)
    key = await trio.to_thread.run_sync(boot_key, ours)
    lock = await trio.to_thread.run_sync(_lock, boots.directory, key, abandon_on_cancel=True)
    try:
        if boots.find(key) is None:
            await _make(ours, boots, key, watch)
        found = boots.find(key)
    finally:
        os.close(lock)
    if found is None:
        raise GuestError("the boot that was just saved is gone", "another program removed it; try again")
    return found


def _boot_spec(spec: MachineSpec) -> MachineSpec:
    if spec.determinism is None or not spec.observed:
        raise InternalError("only a machine with a seed that is observed has such a boot")
    return replace(
        spec,
        determinism=Determinism(BOOT_SEED, spec.determinism.instruction_ns),
        run_files=_NO_FILES,
    )


def _lock(directory: Path, key: str) -> int:
    """Wait until nobody else makes this boot; closing the descriptor that is returned lets others."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


async def _make(spec: MachineSpec, boots: SavedBoots, key: str, watch: Watch) -> None:
    written = await trio.to_thread.run_sync(boots.begin)
    try:
        async with open_machine(spec) as machine:
            with sole_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_end_with, machine)
                    nursery.start_soon(watch, machine)
                    await _stop_after_boot(machine)
                    nursery.cancel_scope.cancel()
            boot_ms = (time.monotonic() - machine.started_s) * 1e3
            data_bytes = await write_machine(machine, boots, written)
            registers = await machine.qmp.execute("human-monitor-command", command_line="info registers -a")
            counts = machine.engine.counts if isinstance(machine.engine, HoldEngine) else ()
            digest = hashlib.sha256(repr((counts, registers)).encode())
            await trio.to_thread.run_sync(partial(_hash_ram, machine.ram_fds, digest))
        about = About(
            kernel=str(spec.kernel),
            cpus=spec.topology.cpus,
            memory_bytes=spec.memory_bytes,
            data_bytes=data_bytes,
            boot_ms=boot_ms,
            host_boot=host_boot(),
            sha256=digest.hexdigest(),
        )
        await trio.to_thread.run_sync(boots.finish, written, key, about)
    finally:
        shutil.rmtree(written, ignore_errors=True)


async def _end_with(machine: Machine) -> None:
    ended = await machine.wait_exit()
    raise GuestError(f"the guest ended before it had booted: {ended.detail}")


async def _stop_after_boot(machine: Machine) -> None:
    """Stop the machine at the first station at which its guest has said that it has booted."""
    stations, port = machine.stations, machine.saved_boot
    if stations is None or port is None:
        raise InternalError("the guest does not wait where its boot can be saved")
    heard, stopping = bytearray(), trio.Event()

    async def look() -> None:
        with suppress(BlockingIOError, OSError):
            heard.extend(os.read(port.socket.fileno(), len(HERE)))
        if heard.endswith(HERE) and not stopping.is_set():
            nursery.start_soon(partial(machine.qmp.execute, "stop", timeout_s=WAITS_WITHIN_S * 2))
            await main_thread_waits(machine.pid)
            stopping.set()

    with trio.move_on_after(BOOT_WITHIN_S) as scope:
        async with trio.open_nursery() as nursery:
            stations.tell_time = look
            await stopping.wait()
    if scope.cancelled_caught:
        raise GuestError(f"the guest had not booted within {BOOT_WITHIN_S:g} s", "is the host overloaded?")


async def main_thread_waits(pid: int) -> None:
    """Return when QEMU's main thread waits for a lock or a condition, as it does for vCPUs that it has told to stop."""
    with trio.move_on_after(WAITS_WITHIN_S):
        while (call := _system_call(pid)) != _SYS_FUTEX:
            if call is None:
                await trio.sleep(BLIND_S)
                return
            await trio.sleep(LOOK_S)


def _system_call(pid: int) -> bytes | None:
    """The number of the system call that a process's first thread waits in; None when that cannot be seen."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/syscall").read_bytes().split()[0]
    except (OSError, IndexError):
        return None


def _hash_ram(ram_fds: tuple[int, ...], digest: hashlib._Hash) -> None:
    """Take every page that is not all zeros; where a file has holes is the host's."""
    for number, descriptor in enumerate(ram_fds):
        for start, page in _pages(descriptor):
            if page != _ZEROS:
                digest.update(f"{number} {start} ".encode())
                digest.update(page)


def _pages(descriptor: int) -> Iterator[tuple[int, bytes]]:
    for first, stop in data_ranges(descriptor):
        for start in range(first, stop, PAGE_BYTES):
            yield start, os.pread(descriptor, PAGE_BYTES, start)
