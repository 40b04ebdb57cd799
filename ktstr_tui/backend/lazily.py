"""Memory of a restored guest that is loaded while it runs: who loads it, who looks after that, what must wait for it.

Where this host does not permit it the memory is filled before the guest runs, and the log says why. A guest whose
pager has died, or whose snapshot turns out to be damaged, cannot go on: it is killed at once and the run says so. The
pages that a guest touched first are kept beside the snapshot (``NAME.order``), and the next one is given them first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.machine import Machine
from ktstr_tui.guest.origin import Origin
from ktstr_tui.kernel.memory import GuestRam, RamImage
from ktstr_tui.memory import pager_messages as pm
from ktstr_tui.memory.page_server import PageServer
from ktstr_tui.memory.pager import open_pager
from ktstr_tui.memory.pager_process import PagerConfig, why_not_lazily
from ktstr_tui.memory.pager_source import (
    PageSource,
    SocketSource,
    decode_pages,
    encode_pages,
    store_source,
)
from ktstr_tui.memory.restored import RestoredOrigin
from ktstr_tui.memory.snapshot import SUFFIX
from ktstr_tui.memory.store import ORDER
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.snapshot_events import RestorePhase
from ktstr_tui.model.text import counted
from ktstr_tui.wire.whole_file import write_whole

TELL_EVERY_S = 0.5
TELL_SHARE = 100
"""Progress is said once for every hundredth of the pages: from another machine they keep coming for hours."""
PAGES_SOCKET = "pages.sock"
MAX_ORDER = 1024
"""Pages of a guest's first uses that are kept for the next one."""
_DAMAGED = "ktstr-tui snapshot verify names what is damaged"


@asynccontextmanager
async def open_lazily(
    origin: RestoredOrigin | None,
    path: str | None,
    emit: Callable[[Event], object],
    socket_dir: Path,
    *,
    wanted: bool,
) -> AsyncIterator[None]:
    """Start the pager of a restored guest, where that is wanted and permitted.

    Args:
        origin: What the guest starts from; None for one that boots.
        path: The snapshot's file.
        emit: Takes events.
        socket_dir: Where the pager asks for pages that lie on another machine.
        wanted: Whether memory is to be loaded while the guest runs.

    Raises:
        HostError: The pager does not start.
    """
    if origin is None or path is None or not wanted:
        yield
        return
    if (why := why_not_lazily()) is not None:
        text = f"all memory is filled before the guest runs: {why}"
        emit(Logged(severity="warning", source="restore", text=text))
        yield
        return
    order = Path(path).with_suffix(ORDER)
    async with (
        _source(origin, Path(path).parent, socket_dir) as source,
        open_pager(source, PagerConfig(prefetch=_read_order(order))) as pager,
    ):
        origin.page_with(pager)
        yield
        _keep_order(order, pager.order()[:MAX_ORDER])
    if (words := travel_words(origin)) is not None:
        emit(Logged(severity="info", source="restore", text=words))


@asynccontextmanager
async def _source(origin: RestoredOrigin, directory: Path, socket_dir: Path) -> AsyncIterator[PageSource]:
    """Where the pager takes the pages from; what lies on another machine it asks this process for."""
    stored = store_source(origin.snapshot, directory)
    if origin.remote is None:
        yield stored
        return
    path = socket_dir / PAGES_SOCKET
    async with trio.open_nursery() as nursery:
        await nursery.start(PageServer(origin.snapshot, origin.remote, origin.remote).run, path)
        yield SocketSource(path=path, pages=stored.pages, digests=stored.digests, here=stored.path)
        nursery.cancel_scope.cancel()


def travel_words(origin: RestoredOrigin) -> str | None:
    """How much of the memory came from another machine; None when it lies here."""
    if origin.remote is None:
        return None
    came, total = origin.remote.travelled, sum(it.pages - it.zero_pages for it in origin.snapshot.memory)
    return f"{came.words()}; its memory has {total}"


def _read_order(path: Path) -> tuple[int, ...]:
    with suppress(OSError):
        return decode_pages(path.read_bytes())[:MAX_ORDER]
    return ()


def _keep_order(path: Path, order: Sequence[int]) -> None:
    """Keep the first uses of the first guest; what only hurries the next one is nothing to fail for."""
    # Beside a snapshot that was removed meanwhile it would be taken for that of a later one of the name.
    if order and not path.exists() and path.with_suffix(SUFFIX).exists():
        with suppress(OSError):
            write_whole(path, encode_pages(order))


async def watch_pager(
    origin: RestoredOrigin,
    machine: Machine,
    ending: RunEnd,
    emit: Callable[[Event], object],
    tell: Callable[[RestorePhase, int], None],
) -> None:
    """Look after the pager of a guest, until all is loaded or the guest has to be ended."""
    pager = origin.pager
    if pager is None:
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell_progress, origin, tell)
        async for event in pager.events:
            if isinstance(event, pm.Resident):
                break
            if (error := _fatal(event)) is not None:
                emit(Logged(severity="error", source="restore", text=error.message))
                ending.set(error.message, error)
                # It waits for pages that do not come: nothing can be asked of it any more.
                machine.kill()
                break
            emit(Logged(severity="warning", source="restore", text=_words(event)))
        nursery.cancel_scope.cancel()
    if pager.ended is None and not origin.pages_left:
        await pager.shut_down()
        origin.arrived()
        tell("resident", 0)


async def load_rest(origin: RestoredOrigin) -> None:
    """Have all that is left loaded while the guest runs; should the pager have died, `watch_pager` tells.

    What lies on another machine comes only when it is touched.
    """
    if origin.pager is not None and not origin.resident and origin.remote is None:
        with suppress(HostError):
            await origin.pager.fill()


async def _tell_progress(origin: RestoredOrigin, tell: Callable[[RestorePhase, int], None]) -> None:
    total = told = sum(it.pages - it.zero_pages for it in origin.snapshot.memory)
    while True:
        await trio.sleep(TELL_EVERY_S)
        left = origin.pages_left
        if (told - left) * TELL_SHARE >= total:
            told = left
            tell("loading", left)


def _fatal(event: pm.PagerEvent) -> KtstrError | None:
    if isinstance(event, pm.PagerEnded):
        return HostError(f"the guest is dead: {event.why}, and its memory is incomplete", "restore it again")
    if isinstance(event, pm.BadPage):
        return HostError(
            f"the guest is dead: page {event.page} of its memory cannot be loaded: {event.why}", _DAMAGED
        )
    if isinstance(event, pm.RegionLost):
        return HostError(
            f"the guest is dead: its memory at {event.base:#x} is not paged any more: {event.why}", ""
        )
    return None


def _words(event: pm.PagerEvent) -> str:
    if isinstance(event, pm.Traced):
        if event.pid is None:
            return "no debugger is attached to QEMU any more"
        return f"process {event.pid} traces QEMU: it cannot read pages that are not loaded yet"
    if isinstance(event, pm.Reinstalled):
        return (
            f"memory of QEMU at {event.base:#x} was mapped a second time; the snapshot still gives its pages"
        )
    if isinstance(event, pm.LinkLost):
        return f"the source of the memory is away ({event.why}); the guest waits for it"
    if isinstance(event, pm.LinkBack):
        return "the source of the memory is back"
    return f"the pager says {type(event).__name__}"


def loader_of(origin: Origin | None) -> Callable[[int, int], None] | None:
    """What loads memory before it is written to; None when it is filled already."""
    return origin.load if isinstance(origin, RestoredOrigin) and origin.pager is not None else None


def readable(live: GuestRam, origin: Origin | None) -> tuple[RamImage, bytes | None]:
    """A guest's RAM as a typed view is to read it, and the kernel's note where it is known.

    Args:
        live: The RAM files.
        origin: What the guest started from.
    """
    if not isinstance(origin, RestoredOrigin):
        return live, None
    return origin.readable(live), origin.snapshot.vmcoreinfo or None


def pages_to_load(origin: Origin | None) -> int:
    """Pages of a guest's memory that are still to be loaded; at least 1 until it is known that all are there."""
    if not isinstance(origin, RestoredOrigin) or origin.pager is None or origin.resident:
        return 0
    return max(1, origin.pages_left)


def require_resident(origin: Origin | None) -> None:
    """Check that a guest's memory is there to be kept.

    Raises:
        UsageError: It is still being loaded.
    """
    if left := pages_to_load(origin):
        far = isinstance(origin, RestoredOrigin) and origin.remote is not None
        raise UsageError(
            f"the memory of this restored guest is still being loaded: {counted(left, 'page')} left",
            "from another machine they come only when they are touched: restore it with --eager"
            if far
            else "ask again when the log says that all of it is there",
        )
