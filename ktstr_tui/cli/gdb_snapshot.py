"""``gdb SNAPSHOT``: gdb or lldb on a guest as it was, through the stub that serves live guests, for reading only.

There is no run to serve it, so this program does, over a socket in a directory of its own, for as long as the debugger
stays.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio

from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.cli.travelled import say_travelled
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.session import Session, SessionCounts
from ktstr_tui.debug.still_target import StillTarget
from ktstr_tui.kernel.symbol_file import make_symbol_file
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.memory.explore import open_view, report_of
from ktstr_tui.memory.find import Found
from ktstr_tui.model.errors import HostError
from ktstr_tui.text.output import print_json, print_line, say

SOCKET_NAME = "gdb.sock"
WAIT_S = 60.0
"""How long the socket waits for a debugger that somebody else starts."""
Command = Callable[[str, Path], list[str]]
"""Makes a debugger's command line of where it connects and the file of symbols."""


def serve_snapshot(found: Found, command: Command | None, *, as_json: bool) -> None:
    """Serve a snapshot to one debugger until it leaves.

    Args:
        found: The snapshot.
        command: Starts the debugger; None to print where one can connect.
        as_json: Whether to print that as JSON.

    Raises:
        KtstrError: The snapshot is damaged or holds no kernel, or no debugger came.
    """
    with open_view(found) as (view, _), tempfile.TemporaryDirectory(prefix="ktstr-gdb-") as directory:
        symbols = make_symbol_file(view)
        place = Path(directory) / SOCKET_NAME
        target = target_of(found, view)
        if command is None:
            if as_json:
                print_json({"where": str(place), "symbols": True})
            else:
                print_line(str(place))
                say(f"within a minute: gdb -ex 'target remote {place}'")
            words = None
        else:
            file = place.with_name("vmlinux")
            file.write_bytes(symbols)
            words = command(str(place), file)
        code = trio.run(serve_target, target, symbols, place, words)
    say_travelled(found)
    if code:
        # The debugger's own code, as with a live guest, where the debugger takes this process's place.
        raise SystemExit(code if code > 0 else 128 - code)


def target_of(found: Found, view: KernelView) -> StillTarget:
    """A snapshot as a debugger has it.

    Args:
        found: The snapshot.
        view: Its memory by type.

    Raises:
        DamagedError: Its capture is not what was stored.
    """
    vcpus = sorted(report_of(found).vcpus, key=lambda it: it.cpu)

    def describe(vcpu: int) -> str:
        curr = vcpus[vcpu].curr
        return f"CPU {vcpu}" if curr is None else f"CPU {vcpu}: {curr.comm}[{curr.pid}]"

    how_on = f"ktstr-tui restore {found.run}/{found.name} starts a guest from it"
    return StillTarget([it.registers for it in vcpus], describe, view.space.read, how_on)


async def serve_target(target: StillTarget, symbols: bytes, place: Path, words: list[str] | None) -> int:
    """Serve one connection, and return the exit code of the debugger that was started for it.

    Args:
        target: The guest.
        symbols: The file of symbols, for who asks for it.
        place: Of the socket.
        words: Command line of the debugger; None when somebody else starts it.

    Raises:
        HostError: None connected in time.
    """
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await listener.bind(str(place))
    listener.listen(1)
    async with trio.SocketListener(listener) as accepting, trio.open_nursery() as nursery:
        if words is None:
            with trio.move_on_after(WAIT_S):
                await _attend(target, symbols, await accepting.accept())
                return 0
            raise HostError(f"no debugger connected within {WAIT_S:g} s")

        async def attend() -> None:
            await _attend(target, symbols, await accepting.accept())

        nursery.start_soon(attend)
        # The terminal's ctrl+c is the debugger's: it interrupts what it does, and leaves this program alone.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            done = await trio.run_process(words, stdin=None, check=False, preexec_fn=_heed_interrupts)
        finally:
            signal.signal(signal.SIGINT, before)
            nursery.cancel_scope.cancel()
    return done.returncode


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def _attend(target: StillTarget, symbols: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        first = DebuggerStop(vcpu=0, interrupted=True)
        await Session(stream, target, OfferedFile(symbols), first, SessionCounts()).run()
