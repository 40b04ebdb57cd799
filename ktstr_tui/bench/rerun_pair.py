"""What the observer costs a guest that nobody looks at: the same machine with it and without, boot and work apart.

Both are machines with a seed and the same options of QEMU; only the plugin differs, and whoever answers it. Work is
from the first report of the scenario's workers to a later one: the guest sends them by its own clock, so both have
done as much guest time.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import Prepared
from ktstr_tui.backend.run_dirs import take_place
from ktstr_tui.backend.session import machine_spec
from ktstr_tui.guest.machine import Machine, open_machine
from ktstr_tui.model.errors import GuestError
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType

REPORTS: Final = 8
"""Reports of workers from the beginning of the work to its end."""
WITHIN_S: Final = 300.0


class Spent(NamedTuple):
    """CPU seconds of QEMU."""

    boot_s: float
    """Until the guest says that it is up."""
    work_s: float


def cpu_s(pid: int) -> float:
    """CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def alone(config: RunConfig, prepared: Prepared, *, observed: bool) -> Spent:
    """Boot a guest, let it work for a while, and end it.

    Args:
        config: A run with a seed that boots by itself.
        prepared: What was looked up for it.
        observed: Whether the observer is loaded.

    Raises:
        GuestError: The guest ended, or took too long.
    """
    with take_place(None, "bench") as place:
        spec = replace(machine_spec(config, prepared, place), observed=observed)
        with trio.move_on_after(WITHIN_S):
            async with open_machine(spec) as machine:
                return await _spent(machine)
    raise GuestError(
        f"the guest did not work for {REPORTS} reports within {WITHIN_S:g} s", "is the host busy?"
    )


async def _spent(machine: Machine) -> Spent:
    assembler, reports = FrameAssembler(), 0
    boot_s = begun_s = 0.0
    async for data in machine.bulk:
        for frame in assembler.feed(bytes(data)):
            if frame.msg_type == MsgType.SysRdy:
                boot_s = cpu_s(machine.pid)
                await machine.bulk.send_all(encode_frame(MsgType.AccessorReady, b""))
            elif frame.msg_type == MsgType.WorkerReport:
                reports += 1
                begun_s = begun_s or cpu_s(machine.pid)
                if reports > REPORTS:
                    return Spent(boot_s, cpu_s(machine.pid) - begun_s)
    raise GuestError("the guest ended before it had worked", "", machine.console.tail())
