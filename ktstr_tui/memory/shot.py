"""One instant of a running machine: its RAM, and the state of its CPUs and devices, from one short stop.

prepare (the guest runs): copy all ─▶ take (stopped): state, then what changed ─▶ the guest runs ─▶ `writing`

A machine that the observer holds must not be stopped by QEMU, which would begin the turns of its vCPUs anew, so its
state is not taken: the run can be had again up to that instant. It does not notice how long it is held, and so all its
RAM is copied then.

Copying before the stop was chosen by measurement: a first copy touches each of its pages for the first time and takes
several times as long as comparing with it. State and RAM are taken one after the other, because what QEMU does to save
a device may end in RAM.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import trio

from ktstr_tui.guest import ram
from ktstr_tui.guest.machine import Machine
from ktstr_tui.guest.machine_state import save_state
from ktstr_tui.memory.copy import RamCopy
from ktstr_tui.model.errors import HostError, KtstrError

MIB = 1 << 20


class StateOfStop:
    """The state of a machine at its newest stop: QEMU saves it once a stop, and it holds as long as that lasts.

    Args:
        since_ns: Since when the machine has been stopped; None while it runs.
        state: What QEMU wrote.
    """

    def __init__(self, since_ns: int | None = None, state: bytes = b"") -> None:
        self.since_ns = since_ns
        self.state = state


class MemoryShot:
    """Takes one instant of a machine. Single use.

    Args:
        machine: The machine.
        directory: Where QEMU may write its state for a moment.
        copy: A copy of its RAM that was made before; None makes one.
    """

    def __init__(self, machine: Machine, directory: Path, copy: RamCopy | None = None) -> None:
        self.state = b""
        """Of CPUs and devices, as QEMU migrates them; empty before `take`, when it failed, or in a run with a seed."""
        self.problem: KtstrError | None = None
        """Why there is none."""
        self.changed_pages = 0
        """Copied while the guest was stopped."""
        self.copy = copy
        """Of the RAM; None before `prepare`."""
        self._machine = machine
        self._directory = directory

    async def prepare(self) -> None:
        """Copy the RAM of the running guest, so that little is left to copy in the stop; nothing in a run with a seed.

        Raises:
            HostError: There is no memory for a copy.
        """
        if self._machine.stations is not None:
            _require_memory(self._machine.ram_fds)
            return
        if self.copy is None:
            _require_memory(self._machine.ram_fds)
            self.copy = await trio.to_thread.run_sync(RamCopy, self._machine.ram_fds)
        await trio.to_thread.run_sync(self.copy.update)

    async def take(self, known: StateOfStop, since_ns: int | None) -> None:
        """Take the instant of a guest that is stopped. Does not raise; see ``problem``.

        Args:
            known: The state at an earlier stop, brought up to date; QEMU saves it only once a stop.
            since_ns: Since when the guest has been stopped.
        """
        try:
            with trio.CancelScope(shield=True):
                if self._machine.stations is not None:
                    known.state, known.since_ns = b"", since_ns
                elif known.since_ns is None or known.since_ns != since_ns:
                    known.state, known.since_ns = await self._save_state(), since_ns
                if self.copy is None:
                    self.copy = await trio.to_thread.run_sync(RamCopy, self._machine.ram_fds)
                self.changed_pages = await trio.to_thread.run_sync(self.copy.update)
            self.state = known.state
        except KtstrError as error:
            self.problem = error
        except OSError as error:
            self.problem = HostError(f"the machine's state cannot be kept: {error}", "free some space")

    def close(self) -> None:
        """Give the memory back."""
        if self.copy is not None:
            self.copy.close()
            self.copy = None

    async def _save_state(self) -> bytes:
        path = self._directory / ".machine-state"
        try:
            await save_state(self._machine.qmp, path)
            return path.read_bytes()
        finally:
            with suppress(OSError):
                path.unlink()


def _require_memory(ram_fds: tuple[int, ...]) -> None:
    needed = sum(stop - start for fd in ram_fds for start, stop in ram.data_ranges(fd)) + 64 * MIB
    free = ram.available_bytes()
    if free is not None and free < needed:
        raise HostError(
            f"a copy of the guest's memory needs {needed // MIB} MiB; the host has {free // MIB} MiB left",
            "end other programs, or give the guest less (--memory)",
        )
