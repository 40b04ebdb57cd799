"""A machine with the observer in it: its page, its engine, its stations, connected to each other and to the monitor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.engine import EngineLostError
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine_state import load_state
from ktstr_tui.guest.observer_page import ObserverPage
from ktstr_tui.guest.qmp import QmpClient, QmpClosedError
from ktstr_tui.guest.stations import Stations
from ktstr_tui.model.errors import GuestError, InternalError

HELD_WITHIN_S: Final = 30.0
LOOK_S: Final = 0.001


class Observed:
    """What an observer adds to a machine.

    Args:
        page: Shared with the observer.
        link: The socket over which the machine's holds come.
        qmp: QEMU's monitor.
    """

    def __init__(self, page: ObserverPage, link: trio.SocketStream, qmp: QmpClient) -> None:
        self._qmp = qmp
        self.stations = Stations(self._ask_status, lambda: qmp.busy)
        at = self.stations
        self.engine = HoldEngine(page, link, self._read_monitor, at.visit, self._read_memory, at.hear, at.end)
        self._page = page

    async def go_on_from(self, state: Path) -> None:
        """Load the state of a saved boot and let the machine run to its first instructions; it is held there.

        Args:
            state: The file.

        Raises:
            GuestError: The state could not be loaded, or QEMU is gone.
        """
        await load_state(self._qmp, state)
        self.stations.gate()
        step = self._page.step
        self._page.set_step(1)
        await self._qmp.execute("cont")
        with trio.fail_after(HELD_WITHIN_S):
            while self.engine.held is None:
                if self.stations.over:
                    raise EngineLostError("QEMU is gone")
                await trio.sleep(LOOK_S)
        self._page.set_step(step)

    async def _ask_status(self) -> object:
        # A QEMU that is gone or stuck is noticed by those who wait for its end.
        with suppress(GuestError):
            return await self._qmp.execute("query-status")
        return None

    async def _read_monitor(self) -> str:
        return await self._monitor("info registers -a")

    async def _read_memory(self, vcpu: int, address: int, count: int) -> str:
        return await self._monitor(f"x /{count}bx {address:#x}", cpu_index=vcpu)

    async def _monitor(self, line: str, **arguments: int) -> str:
        try:
            return str(await self._qmp.execute("human-monitor-command", command_line=line, **arguments))
        except QmpClosedError as error:
            raise EngineLostError("QEMU is gone") from error


@contextmanager
def open_page(determinism: Determinism | None) -> Iterator[ObserverPage]:
    """Make the page that a machine is to share with its observer.

    Raises:
        InternalError: The machine is not a deterministic one.
    """
    if determinism is None:
        raise InternalError("an observed machine is a deterministic one")
    with closing(ObserverPage()) as page:
        page.set_step(determinism.station_instructions)
        yield page
