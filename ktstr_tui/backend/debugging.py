"""The door for debuggers of one run, connected: what they see, what they may write, and who hears of it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.past import open_again, written_before
from ktstr_tui.backend.setup import Setup
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.watch.writer import copy_writer
from ktstr_tui.debug.door import DebuggerDoor
from ktstr_tui.debug.past import PastTarget
from ktstr_tui.debug.target import LiveTarget, Target, Written
from ktstr_tui.guest.machine import Machine
from ktstr_tui.kernel.symbol_file import make_symbol_file
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.control import Outcome, RunKernelWrite
from ktstr_tui.wire.kernel_ops import Bytes, Entry, KernelOp, Kva


def make_door(
    machine: Machine, coordinator: Coordinator, setup: Setup, stream: Stream, nursery: trio.Nursery
) -> DebuggerDoor:
    """Make the door of a run; it is closed until somebody asks for it."""

    def view() -> KernelView | None:
        return coordinator.memory.view

    async def make_symbols() -> bytes | None:
        found = view()
        return None if found is None else await trio.to_thread.run_sync(make_symbol_file, found)

    def make_target(who: str) -> Target:
        def record(written: Written) -> None:
            outcome: Outcome = "accepted" if written.ok else "rejected"
            setup.control.audit.record(who, "gdb.write", outcome, written.what)
            door.told_written(written.what, ok=written.ok)

        async def write(address: int, data: bytes) -> None:
            await setup.control.desk.ask(who, _kernel_write(address, data, who))

        vcpus = machine.spec.topology.cpus
        live = LiveTarget(
            coordinator.debug,
            vcpus,
            _describe(view),
            setup.config.allow_writes,
            record,
            # In a run with a seed it is an intervention, which is written down and which a rerun makes again.
            None if machine.stations is None else write,
        )
        if machine.stations is None or setup.reboots.boot > 1 or setup.config.debugger_fd is not None:
            return live
        again = partial(open_again, setup.place.data_dir)
        return PastTarget(live, again, door.told_past, partial(written_before, setup.place.data_dir))

    door = DebuggerDoor(
        coordinator.debug, make_target, make_symbols, stream.emit, setup.place.socket_dir, nursery
    )
    return door


async def serve_past(
    fd: int, door: DebuggerDoor, ending: RunEnd, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve the run that had this one again for its debugger, and end with it; started once the guest is held.

    Args:
        fd: Of our end of the socket to it.
        door: Serves debuggers.
        ending: How the run ends.
        task_status: Told when it is.
    """
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))
    try:
        await door.attend(stream, "the run that this one is again", task_status)
    finally:
        ending.set("the debugger that this rerun was for is done with it")


def _kernel_write(address: int, data: bytes, who: str) -> RunKernelWrite:
    op = KernelOp(mode="cold", direction="write", entries=(Entry(Kva(address), Bytes(data)),))
    return RunKernelWrite(op=msgspec.to_builtins(op), who=who)


def _describe(view: Callable[[], KernelView | None]) -> Callable[[int], str]:
    def describe(vcpu: int) -> str:
        found = view()
        if found is None:
            return f"vCPU {vcpu}"
        row = copy_writer(found, vcpu, {}).row
        return f"CPU {vcpu}" if row is None else f"CPU {vcpu}: {text(row['comm'])}[{row['pid']}]"

    return describe
