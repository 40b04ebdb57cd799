"""The pager: another process that brings the pages of a snapshot into a guest's memory when they are touched.

The process is ``native/pager``: in C, because a page has to be there within microseconds, and a process of its own
because who waits for a page cannot bring it; a debugger that stops QEMU would stop the pager with it. There are two
sockets: over the owner's it is asked and says what happens (`pager_messages`), and over the other one, whose far end a
QEMU with the shim inherits (`Pager.handoff`), the guest's RAM is registered.

A page is loaded for three reasons: a fault, the list to prewarm (before whoever registers a region is answered), or
ahead of its use: first the list of another guest's first uses, then, when `Pager.fill` asks for it, all that is left.

If the pager dies, whoever touches a missing page waits for ever, so its owner has to end the guest: see `PagerEnded`.
"""

from __future__ import annotations

import itertools
import mmap
import os
import select
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager, suppress

import trio

from ktstr_tui._native import ffi, lib
from ktstr_tui.memory import pager_messages as pm
from ktstr_tui.memory.pager_process import PagerConfig, PagerProcess, spawn
from ktstr_tui.memory.pager_source import PageSource
from ktstr_tui.memory.pager_statistics import PagerStatistics
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.uffd import open_uffd, watch
from ktstr_tui.model.errors import HostError, UsageError, sole_error

SHUT_DOWN_INTERVALS = 4
"""A pager ends within so many of its intervals."""
MAX_EVENTS = 256
LOAD_TIMEOUT_S = 2.0


_DEFAULT = PagerConfig()


class Pager:
    """A pager that runs; made by `open_pager`.

    Attributes:
        handoff: The end of a socket that a process with the shim inherits.
        events: What happens to it (`PagerEvent`), to be taken all the time; ends with it.
        pid: Of its process.
    """

    def __init__(self, process: PagerProcess) -> None:
        self._process = process.popen
        self._control = process.control
        self._shared = process.shared
        self._waiting: dict[int, trio.Event] = {}
        self._replies: dict[int, pm.Reply] = {}
        self._ids = itertools.count(1)
        self._asked_to_end = False
        self._over = trio.Event()
        self._resident = trio.Event()
        self.handoff = process.handoff
        self.pid = process.popen.pid
        self._tell, self.events = trio.open_memory_channel[pm.PagerEvent](MAX_EVENTS)
        self.ended: pm.PagerEnded | None = None
        """How it ended, if it was not told to."""

    def statistics(self) -> PagerStatistics:
        """What it has done so far."""
        return self._shared.statistics()

    def order(self) -> tuple[int, ...]:
        """The pages that were asked for, in the order of first use: another guest's list to prefetch."""
        return self._shared.order()

    async def register_region(self, view: mmap.mmap, offset: int = 0) -> None:
        """Have memory of this process paged.

        Args:
            view: Shared or anonymous memory.
            offset: Where it begins in the image, in bytes.

        Raises:
            HostError: This host does not permit it.
            UsageError: The pager refuses the region, and says why.
        """
        base = int(ffi.cast("uintptr_t", ffi.from_buffer(view)))
        uffd = open_uffd()
        try:
            watch(uffd, base, len(view))
            await self._ask(lib.KTP_REGISTER, base, len(view), offset, PAGE_BYTES, fds=(uffd,))
        finally:
            os.close(uffd)

    def is_there(self, page: int) -> bool:
        """Whether a page of the image is in memory that is paged; one of zeros is once it was touched."""
        return self._shared.is_there(page)

    def load(self, first: int, count: int) -> None:
        """Have pages of the image loaded now. Blocks, for microseconds from a store; for a write, which cannot wait.

        It goes over the socket of the shim, which is not used any more once QEMU has started.

        Args:
            first: Page of the image.
            count: How many.

        Raises:
            UsageError: One of them cannot be had.
            HostError: The pager does not answer.
        """
        self.handoff.send(pm.encode_request(lib.KTP_LOAD, next(self._ids), first, count))
        if not select.select([self.handoff], [], [], LOAD_TIMEOUT_S)[0]:
            raise HostError("the pager does not answer", "is this host overloaded?")
        reply = pm.decode_message(self.handoff.recv(pm.MESSAGE_BYTES))
        if isinstance(reply, pm.Reply) and reply.refused is not None:
            raise UsageError(f"memory that is to be written cannot be loaded: {reply.refused}")

    async def fill(self, wanted: bool = True) -> None:
        """Load all that is left while nothing else is asked for, or stop doing so."""
        await self._ask(lib.KTP_FILL, int(wanted))

    async def wait_resident(self) -> None:
        """Wait until all pages of data are loaded, or the pager has ended."""
        await self._resident.wait()

    async def shut_down(self) -> None:
        """End it. Pages that are missing then stay so: end the guest first, or wait until it is resident."""
        self._asked_to_end = True
        with suppress(HostError, UsageError):
            await self._ask(lib.KTP_SHUT_DOWN)
        await self._over.wait()

    async def _ask(self, kind: int, *fields: int, fds: Iterable[int] = ()) -> None:
        if self._over.is_set():
            raise self._gone()
        id_ = next(self._ids)
        answered = self._waiting[id_] = trio.Event()
        data = pm.encode_request(kind, id_, *fields)
        try:
            await trio.lowlevel.wait_writable(self._control)
            socket.send_fds(self._control, [data], list(fds))
            await answered.wait()
        except OSError as error:
            await self._over.wait()
            raise self._gone() from error
        finally:
            del self._waiting[id_]
            reply = self._replies.pop(id_, None)
        if reply is None:
            raise self._gone()
        if reply.refused is not None:
            raise UsageError(f"the pager refuses this: {reply.refused}")

    def _gone(self) -> HostError:
        why = "the pager has ended" if self.ended is None else self.ended.why
        return HostError(why, "is the snapshot whole? ktstr-tui snapshot verify tells")

    async def _listen(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._control)
            try:
                data = self._control.recv(pm.MESSAGE_BYTES + 1)
            except OSError:
                return
            if not data:
                return
            said = pm.decode_message(data)
            if isinstance(said, pm.Reply):
                self._take_reply(said)
            else:
                await self._take_event(said)

    def _take_reply(self, reply: pm.Reply) -> None:
        # Whoever asked may have been cancelled meanwhile.
        if (waiting := self._waiting.get(reply.id)) is not None:
            self._replies[reply.id] = reply
            waiting.set()

    async def _take_event(self, event: pm.PagerEvent) -> None:
        """Hand an event over; when nobody takes them for long the pager waits, rather than that one is lost."""
        if isinstance(event, pm.Resident):
            self._resident.set()
        await self._tell.send(event)

    async def _watch(self) -> None:
        """Listen, and tell of the end."""
        pidfd = os.pidfd_open(self.pid)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen)
                await trio.lowlevel.wait_readable(pidfd)
                # What it said before its end is in the socket.
                with trio.move_on_after(1):
                    await self._control_drained()
                nursery.cancel_scope.cancel()
        finally:
            os.close(pidfd)
            self._finish()

    async def _control_drained(self) -> None:
        while True:
            try:
                if not self._control.recv(1, socket.MSG_PEEK):
                    return
            except OSError:
                return
            await trio.lowlevel.checkpoint()

    def _finish(self) -> None:
        self._process.poll()
        if not self._asked_to_end and self._process.returncode is not None:
            assert self._process.stderr is not None
            said = self._process.stderr.read().decode(errors="replace")
            self.ended = pm.ended(self._process.returncode, said)
            with suppress(trio.WouldBlock):
                self._tell.send_nowait(self.ended)
        self._over.set()
        self._resident.set()
        self._tell.close()
        for waiting in self._waiting.values():
            waiting.set()


@asynccontextmanager
async def open_pager(source: PageSource, config: PagerConfig = _DEFAULT) -> AsyncIterator[Pager]:
    """Start a pager; on leaving the context it has ended.

    Args:
        source: Where the pages are.
        config: How it works.

    Yields:
        The pager, whose source is open.

    Raises:
        HostError: The source cannot be opened, or the program is not there.
    """
    with ExitStack() as stack:
        pager = Pager(spawn(source, config, stack))
        with sole_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pager._watch)
                try:
                    # Answered once the source is open.
                    await pager.fill(False)
                    yield pager
                finally:
                    await _end(pager, config)
                    nursery.cancel_scope.cancel()


async def _end(pager: Pager, config: PagerConfig) -> None:
    """Make sure that it is gone, also when cancelled."""
    with trio.CancelScope(shield=True):
        with trio.move_on_after(SHUT_DOWN_INTERVALS * config.interval_s):
            await pager.shut_down()
        pager._process.kill()
        await pager._over.wait()
