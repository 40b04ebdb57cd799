"""Letting a guest pass the point of its boot at which it waits, and saving the boot there.

The guest program says ``booted`` on a port of its own and waits for a line (``native/agent/saved.h``)::

    boots itself:   … booted ──▶ stop, save state and RAM, resume ──▶ the line ──▶ files of the run ──▶ SysRdy
    goes on:                     (RAM copied, state loaded)       ──▶ the line ──▶ files of the run ──▶ SysRdy

The line carries what must not be the same in every run that goes on from one boot: the time of day and random numbers.
Saving may fail (a full disk, a QEMU that cannot); then the guest goes on all the same and the reason is returned.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from ktstr_tui.guest.machine import Machine
from ktstr_tui.guest.machine_state import save_state
from ktstr_tui.guest.ram import copy_data, data_ranges
from ktstr_tui.guest.saved_boots import About, SavedBoots, boot_key, host_boot
from ktstr_tui.model.errors import GuestError, KtstrError

HERE = b"booted\n"
"""What the guest program says on its port when it has come so far."""
MIB = 1 << 20


class PassedBoot(msgspec.Struct, frozen=True):
    """How a guest came to the point from which its run begins."""

    goes_on: bool
    """Whether it went on from a saved boot."""
    text: str
    """One sentence for people."""
    problem: bool = False
    """Whether the boot should have been saved and was not."""


async def pass_boot(machine: Machine) -> PassedBoot | None:
    """Wait until the guest has booted, save its boot, and let it go on. Nobody else may use the engine meanwhile.

    Returns:
        What happened; None for a machine whose guest does not wait, or was restored past that point.

    Raises:
        GuestError: The guest is gone.
    """
    port = machine.saved_boot
    if port is None or machine.spec.restored is not None:
        return None
    if machine.origin is not None:
        passed = PassedBoot(True, _how_long(machine.origin.about, machine))
    else:
        await _wait_for_guest(port)
        passed = await _save(machine)
    line = _first_line(machine)
    try:
        await port.send_all(line)
    except trio.BrokenResourceError as error:
        raise GuestError("the guest is gone") from error
    if machine.stations is not None:
        await machine.stations.swallowed(port)
    return passed


def _how_long(about: About, machine: Machine) -> str:
    if machine.stations is not None:
        return "started from a saved boot"  # how long it took is the host's, and no part of what follows from a seed
    return f"started from a saved boot, which had taken {about.boot_ms / 1e3:.1f} s"


def _first_line(machine: Machine) -> bytes:
    """The time of day and random numbers; with a seed all of it follows from that, and the clock is the guest's."""
    determinism = machine.spec.determinism
    if determinism is None:
        return f"{time.time_ns()} {secrets.token_hex(32)}\n".encode()
    drawn = hashlib.sha256(f"ktstr {determinism.seed}".encode()).hexdigest()
    return f"0 {drawn} seed={determinism.seed}\n".encode()


async def _wait_for_guest(port: trio.SocketStream) -> None:
    heard = b""
    while not heard.endswith(HERE):
        data = await port.receive_some(len(HERE))
        if not data:
            raise GuestError("the guest ended before it had booted")
        heard += data


async def _save(machine: Machine) -> PassedBoot:
    begun_s = time.monotonic()
    boots = SavedBoots()
    written: Path | None = None
    try:
        written = await trio.to_thread.run_sync(boots.begin)
        key = await trio.to_thread.run_sync(boot_key, machine.spec)
        await machine.engine.stop()
        try:
            data_bytes = await write_machine(machine, boots, written)
        finally:
            with suppress(GuestError):
                await machine.engine.resume()
        about = About(
            kernel=str(machine.spec.kernel),
            cpus=machine.spec.topology.cpus,
            memory_bytes=machine.spec.memory_bytes,
            data_bytes=data_bytes,
            boot_ms=(begun_s - machine.started_s) * 1e3,
            host_boot=host_boot(),
        )
        await trio.to_thread.run_sync(boots.finish, written, key, about)
    except (KtstrError, OSError) as error:
        return PassedBoot(False, f"could not save its boot: {error}", problem=True)
    finally:
        if written is not None:
            shutil.rmtree(written, ignore_errors=True)  # what was finished has another name by now
    took_ms = (time.monotonic() - begun_s) * 1e3
    return PassedBoot(
        False, f"saved its boot ({data_bytes // MIB} MiB, {took_ms:.0f} ms); the next run starts from it"
    )


async def write_machine(machine: Machine, boots: SavedBoots, written: Path) -> int:
    """Write the state and RAM of a machine that is stopped to a directory; return the bytes of RAM.

    Raises:
        OSError: There is no room, or it cannot be written.
        MachineStateError: QEMU could not save its state.
        GuestError: QEMU is gone.
    """
    data_bytes = sum(stop - start for fd in machine.ram_fds for start, stop in data_ranges(fd))
    if not boots.room_for(data_bytes):
        raise OSError(f"{boots.directory} has no room for {data_bytes // MIB} MiB")
    (written / "console").write_bytes(machine.spec.console_log.read_bytes())
    await save_state(machine.qmp, written / "state")
    for index, fd in enumerate(machine.ram_fds):
        await trio.to_thread.run_sync(partial(_copy_out, fd, written / f"ram{index}"))
    return data_bytes


def _copy_out(fd: int, path: Path) -> None:
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy_data(fd, target)
    finally:
        os.close(target)
