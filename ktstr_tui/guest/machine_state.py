"""The state of a stopped machine without its RAM: vCPUs and devices, saved to a file and loaded again.

QEMU calls it migration. With the capability ``x-ignore-shared`` it leaves out RAM that lies in shared files, which ours
does (`guest.ram`), so what remains has some hundred kilobytes and takes milliseconds. RAM and state belong together:
whoever saves one saves the other while the machine stands still.

Facts that shape this file:

* The machine that loads must be started with the same options and ``-incoming defer``. It is stopped afterwards.
* A machine that was saved is in the state ``postmigrate`` and goes on with the next continue. A second save without
  having run in between is refused by QEMU.
* The capability has to be set on both sides, before each.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

import msgspec
import trio

from ktstr_tui.guest.qmp import QmpClient, QmpError
from ktstr_tui.model.errors import GuestError

DEADLINE_S = 30.0
MOST_BYTES = 1 << 20
"""More than a state has."""
_LOOK_EVERY_S = 0.002


class MachineStateError(GuestError):
    """The state of a machine could not be saved or loaded."""


class _Migration(msgspec.Struct, rename="kebab"):
    """The answer to ``query-migrate``."""

    status: str = "none"
    error_desc: str = ""


async def save_state(qmp: QmpClient, path: Path) -> None:
    """Save the state of a machine that is stopped; it stays stopped.

    Args:
        qmp: The machine's monitor.
        path: The file to write.

    Raises:
        MachineStateError: QEMU could not, or the disk is full.
        GuestError: QEMU is gone.
    """
    try:
        await _migrate(qmp, "migrate", f"exec:cat > {shlex.quote(str(path))}", "saved")
    except MachineStateError as error:
        # QEMU knows only that the command which writes the file has ended.
        free = os.statvfs(path.parent)
        if free.f_bavail * free.f_frsize >= MOST_BYTES:
            raise
        raise MachineStateError(
            f"the machine's state could not be saved: no space is left in {path.parent}", "free some (df)"
        ) from error


async def load_state(qmp: QmpClient, path: Path) -> None:
    """Load a state into a machine that was started with ``-incoming defer``; it is stopped afterwards.

    Args:
        qmp: The machine's monitor.
        path: The file.

    Raises:
        MachineStateError: QEMU could not: the file is damaged, or belongs to another machine.
        GuestError: QEMU is gone, which it may be when it could not.
    """
    await _migrate(qmp, "migrate-incoming", f"exec:cat {shlex.quote(str(path))}", "loaded")


async def _migrate(qmp: QmpClient, command: str, uri: str, verb: Literal["saved", "loaded"]) -> None:
    capability = {"capability": "x-ignore-shared", "state": True}
    try:
        await qmp.execute("migrate-set-capabilities", capabilities=[capability])
        # Network cards are announced once (there are none): again later would be a timer of the host's clock, which a
        # machine that counts instructions should not have. Care only: three runs without this were the same, too.
        await qmp.execute("migrate-set-parameters", announce_rounds=1)
        await qmp.execute(command, uri=uri)
    except QmpError as error:
        raise MachineStateError(f"the machine's state could not be {verb}: {error.description}") from error
    await _finish(qmp, verb)


async def _finish(qmp: QmpClient, verb: Literal["saved", "loaded"]) -> None:
    with trio.move_on_after(DEADLINE_S):
        while True:
            answer = msgspec.convert(await qmp.execute("query-migrate"), _Migration)
            if answer.status == "completed":
                return
            if answer.status in ("failed", "cancelled"):
                why = answer.error_desc or "QEMU says no more"
                raise MachineStateError(f"the machine's state could not be {verb}: {why}")
            await trio.sleep(_LOOK_EVERY_S)
    raise MachineStateError(f"the machine's state was not {verb} within {DEADLINE_S:g} s")
