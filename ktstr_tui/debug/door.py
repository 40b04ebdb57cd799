"""Where a debugger comes in: a socket that is open for one connection, after somebody who may has asked for it.

closed ──open──▶ waiting ──a debugger connects──▶ attached ──it leaves, is told to, or the guest is gone──▶ closed
                    └──none came in time, or told to──▶ closed

The socket is not there before and after. So a run that wants signatures is not passed by a socket that takes whoever
comes. However a debugger ends, also by SIGKILL in the middle of a stop: its breakpoints are removed and the guest runs,
unless a user froze it.

Each second the watchpoints of the run are set again if somebody removed them, which stops a running guest for a moment.
It is done only while a debugger is attached.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio

from ktstr_tui.capture.debug_access import DebugAccess
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.session import Session, SessionCounts
from ktstr_tui.debug.target import SymbolFile, Target
from ktstr_tui.model.answers import DebuggerOpened
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.model.stop_events import DebuggerChanged, DebuggerStep

SOCKET_NAME = "gdb.sock"
WAIT_S = 60.0
"""How long the socket waits for a debugger."""
LOOK_S = 1.0
"""Between two looks at the watchpoints of the run."""
SHOW_S = 0.2
"""After which a stop is shown as a freeze; a debugger that only evaluates a condition is gone before."""
_LEAVE_S = 10.0


class DebuggerDoor:
    """Lets one debugger in at a time.

    Args:
        access: The guest as a debugger has it.
        make_target: Makes what a debugger of that user looks at.
        make_symbols: Makes the file of symbols.
        emit: Takes events.
        socket_dir: Where the socket goes.
        nursery: Where sessions run.
    """

    def __init__(
        self,
        access: DebugAccess,
        make_target: Callable[[str], Target],
        make_symbols: SymbolFile,
        emit: Callable[[DebuggerChanged], object],
        socket_dir: Path,
        nursery: trio.Nursery,
    ) -> None:
        self._access = access
        self._make_target = make_target
        self._make_symbols = make_symbols
        self._emit = emit
        self._path = socket_dir / SOCKET_NAME
        self._nursery = nursery
        self._who = ""
        self._open: trio.CancelScope | None = None
        self._why_closed = ""
        self._counts = SessionCounts()

    async def open(self, who: str, port: int | None = None) -> DebuggerOpened:
        """Wait for a debugger, in the background.

        Args:
            who: For whom.
            port: TCP port on the loopback interface; 0 for any, None for the socket of the run.

        Raises:
            UsageError: There is one already, or this machine cannot be debugged.
            HostError: The socket cannot be made.
        """
        if self._open is not None:
            raise UsageError(
                f"a debugger of {self._who} is attached or expected", "end it: ktstr-tui gdb --detach"
            )
        self._access.engine  # noqa: B018 - refused here where there is no stub
        self._open, self._who, self._why_closed = trio.CancelScope(), who, ""
        try:
            # First, because a debugger waits for an answer for two seconds only, and a host may be busy.
            symbols = await self._make_symbols()
            listener, where = await self._listen(port)
        except BaseException:
            self._open = None
            raise
        self._emit(self._event("waiting", where=where))
        self._nursery.start_soon(self._serve, listener, self._open, OfferedFile(symbols))
        return DebuggerOpened(where=where, symbols=symbols is not None)

    async def attend(
        self,
        stream: trio.SocketStream,
        who: str,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve whoever is at the other end of a stream, without symbols; started once the guest is held for it.

        Args:
            stream: Closed when the session ends.
            who: That is.
            task_status: Told when it is.
        """
        self._open, self._who, self._why_closed = trio.CancelScope(), who, ""
        with self._open:
            async with stream:
                await self._attend(stream, OfferedFile(None), task_status.started)

    def close(self, reason: str) -> bool:
        """Let no debugger in, and end the one that is attached; False when there is none."""
        if self._open is None:
            return False
        self._why_closed = reason
        self._open.cancel()
        return True

    def told_written(self, what: str, *, ok: bool) -> None:
        """Tell viewers that the debugger wrote, or was refused."""
        self._emit(self._event("wrote" if ok else "refused", what=what))

    def told_past(self, what: str) -> None:
        """Tell viewers that the debugger looks at an earlier instant of the guest; with no words, that it does not."""
        self._emit(self._event("went_back" if what else "came_back", what=what))

    def drops(self) -> dict[str, int]:
        """Return what was lost of what debuggers sent, by reason."""
        counts = self._counts
        return {
            "junk-bytes": counts.junk_bytes,
            "damaged": counts.damaged,
            "while-running": counts.while_running,
        }

    async def _listen(self, port: int | None) -> tuple[trio.SocketListener, str]:
        try:
            if port is not None:
                (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=1)
                return listener, "{}:{}".format(*listener.socket.getsockname())
            self._path.unlink(missing_ok=True)
            socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
            await socket.bind(str(self._path))
            os.chmod(self._path, 0o600)
            socket.listen(1)
            return trio.SocketListener(socket), str(self._path)
        except OSError as error:
            raise HostError(
                f"no socket for a debugger: {error.strerror or error}", "name another port"
            ) from error

    async def _serve(
        self, listener: trio.SocketListener, scope: trio.CancelScope, offered: OfferedFile
    ) -> None:
        reason = f"no debugger connected within {WAIT_S:g} s"
        try:
            with scope:
                stream: trio.SocketStream | None = None
                async with listener:
                    with trio.move_on_after(WAIT_S):
                        stream = await listener.accept()
                self._path.unlink(missing_ok=True)
                if stream is not None:
                    async with stream:
                        reason = await self._attend(stream, offered)
        except KtstrError as error:
            reason = error.message
        except OSError as error:
            reason = str(error)
        finally:
            self._path.unlink(missing_ok=True)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _LEAVE_S):
                await self._access.detach(f"the debugger of {self._who} left")
            self._open = None
            self._emit(self._event("left", what=self._why_closed or reason))

    async def _attend(
        self, stream: trio.SocketStream, offered: OfferedFile, started: Callable[[], object] = lambda: None
    ) -> str:
        first = await self._access.attach(self._who)
        self._emit(self._event("attached"))
        started()
        target = self._make_target(self._who)
        session = Session(stream, target, offered, first, self._counts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(target.run)
            nursery.start_soon(self._look_after)
            nursery.start_soon(self._show)
            reason = await session.run()
            nursery.cancel_scope.cancel()
        return reason

    async def _look_after(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            with suppress(KtstrError):  # a guest that is gone ends the session by itself
                await self._access.restore_watches()

    async def _show(self) -> None:
        seen = 0
        while True:
            await trio.sleep(SHOW_S)
            if self._access.holds and self._access.hold_number == seen:
                with suppress(KtstrError):
                    await self._access.show()
            seen = self._access.hold_number

    def _event(self, step: DebuggerStep, *, where: str = "", what: str = "") -> DebuggerChanged:
        counts = self._access.statistics()
        return DebuggerChanged(
            step=step,
            who=self._who,
            where=where,
            what=what,
            forwarded=counts.forwarded,
            restored=counts.restored,
        )
