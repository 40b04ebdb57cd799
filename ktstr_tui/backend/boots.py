"""How long boots take here, so that a person who waits for one knows: each kernel's last boot is remembered.

The time depends on the accelerator, the kernel and the number of CPUs, so these are the key. What cannot be read or
written is no fault of the run: then nothing is known.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import trio

from ktstr_tui.backend.guestwatch import until_stuck
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.boot import pass_boot
from ktstr_tui.guest.console import Console
from ktstr_tui.guest.guest_time import sleep_or
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.guest.saved_boots import SavedBoot
from ktstr_tui.guest.seeded_boot import find_or_make
from ktstr_tui.model.errors import GuestError, sole_error
from ktstr_tui.model.events import BootMaking, Event, Logged, OutputText, Severity
from ktstr_tui.model.kinds import OutputStream
from ktstr_tui.wire.whole_file import write_whole

LOOK_EVERY_S = 0.5
"""Seconds between two looks at the console of a guest that boots."""
PROGRESS_EVERY_S = 1.0
"""Seconds between two words on how far a saved boot has come that is being made."""
MAX_ENTRIES = 64
"""Boots remembered; the oldest goes first."""


class BootTimes:
    """The last boot of each kernel, in a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or cache_dir() / "boot-times.json"

    def last_ms(self, accelerator: str, kernel: str, topology: str) -> float | None:
        """How long the last boot took; None when none is remembered."""
        return self._load().get(_key(accelerator, kernel, topology))

    def remember(self, accelerator: str, kernel: str, topology: str, boot_ms: float) -> None:
        """Remember a boot."""
        times = self._load()
        key = _key(accelerator, kernel, topology)
        times.pop(key, None)
        times[key] = round(boot_ms)
        newest = dict(list(times.items())[-MAX_ENTRIES:])
        with suppress(OSError):
            write_whole(self._path, msgspec.json.encode(newest), lasting=False)

    def _load(self) -> dict[str, float]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):
            return {}


def _key(accelerator: str, kernel: str, topology: str) -> str:
    return f"{accelerator} {kernel} {topology}"


async def show_console(
    console: Console,
    up: trio.Event,
    emit: Callable[[Event], object],
    sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    stream: OutputStream = "console",
) -> None:
    """Emit what a guest that boots prints on its console, until it is up; from then on its log has it."""
    shown = 0
    while True:
        lines = console.statistics().lines
        if lines > shown:
            fresh = console.since(shown)
            emit(OutputText(stream=stream, text="".join(f"{line}\n" for line in fresh)))
            shown = lines
        if up.is_set():
            return
        await sleep_or(up, sleep, LOOK_EVERY_S)


async def find_boot(
    spec: MachineSpec, ending: RunEnd, emit: Callable[[Event], object], stuck_s: float
) -> SavedBoot | None:
    """The saved boot from which a run with a seed goes on; None when the run is to end before there is one.

    Where there is none it is made first, by a machine of its own. What that prints is no part of the run, which is the
    same whether it finds the boot or has to make it, so it has a stream of its own.

    Args:
        spec: The machine.
        ending: How the run ends.
        emit: Takes events.
        stuck_s: For how long the machine that makes it may execute nothing; see `until_stuck`.

    Raises:
        OSError: It cannot be written.
        KtstrError: It could not be made.
    """

    async def show(machine: Machine) -> None:
        text = "no boot of this machine is saved yet: its kernel boots now, and later runs start from what is saved"
        emit(Logged(severity="info", source="seed", text=text))
        async with trio.open_nursery() as watchers:
            watchers.start_soon(partial(show_console, machine.console, trio.Event(), emit, stream="boot"))
            watchers.start_soon(_show_progress, machine, emit)
            raise await until_stuck(machine, emit, stuck_s)

    found = None
    with sole_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_the_end, ending, nursery.cancel_scope)
            found = await find_or_make(spec, show)
            nursery.cancel_scope.cancel()
    return found


async def _show_progress(machine: Machine, emit: Callable[[Event], object]) -> None:
    stations, determinism = machine.stations, machine.spec.determinism
    while stations is not None and determinism is not None:
        spent_ms = (time.monotonic() - machine.started_s) * 1e3
        emit(BootMaking(spent_ms=spent_ms, guest_ms=stations.last * determinism.instruction_ns / 1e6))
        await trio.sleep(PROGRESS_EVERY_S)


async def pass_saved_boot(machine: Machine, ending: RunEnd, emit: Callable[[Event], object]) -> None:
    """Let a guest pass the point at which its boot may be saved, and say how; before anybody else uses the engine.

    Returns early when the run is to end.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_at_the_end, ending, nursery.cancel_scope)
        with suppress(GuestError):  # a guest that is gone is seen by those who watch for it
            passed = await pass_boot(machine)
            if passed is not None:
                severity: Severity = "warning" if passed.problem else "info"
                emit(Logged(severity=severity, source="guest", text=passed.text))
        nursery.cancel_scope.cancel()


async def _cancel_at_the_end(ending: RunEnd, scope: trio.CancelScope) -> None:
    await ending.wait()
    scope.cancel()
