"""What a debugger has to do with the stops of the guest: which are its own, and whether it keeps the guest stopped.

A stop belongs to the debugger when nothing of ours explains it: a breakpoint, the end of a step, or a watchpoint at
an address that the debugger watches. Such a stop is *told* to it, and from then on it *holds* the guest: every block
that finds the guest stopped leaves it so, until the debugger resumes it. All other stops (a hit of ours, a capture, a
freeze) come and go without the debugger hearing of them. One stop can be both: the same word may be watched by both
sides.

Two traps. A stop of ours that meets a breakpoint loses nothing: the vCPU has not executed that instruction, and stops
at it again after our resume. And a step that a stop of ours interrupts is not over: the engine resumes as the
debugger asked (`StubEngine.resume_as`) until the step ends by itself.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
import trio

from ktstr_tui.guest.engine import Stop

WatchKind: TypeAlias = Literal["watch", "rwatch", "awatch"]
"""A write, a read, either: the words of gdb's protocol."""


class DebuggerStop(msgspec.Struct, frozen=True, kw_only=True):
    """A stop that is reported to the debugger."""

    vcpu: int
    """From 0."""
    interrupted: bool = False
    """The debugger asked for it, by itself or with its arrival."""
    watch: WatchKind | None = None
    address: int | None = None
    """Of the watchpoint that was hit."""
    at_begin: bool = False
    """The debugger went back as far as there is."""


class DebuggerStops:
    """Sorts stops, for one debugger at most. Only the task that owns the engine changes it, but for `wait_stop`."""

    def __init__(self) -> None:
        self.attached = False
        """Whether there is a debugger."""
        self.who = ""
        """Its user, in words."""
        self.holds = False
        """Whether the guest stays stopped for it."""
        self.number = 0
        """How often it was held so far: it tells one hold from the next."""
        self.stepped: int | None = None
        """The vCPU that executes a single instruction for it; None while it does not step."""
        self.watches: dict[int, WatchKind] = {}
        """What it watches, by address."""
        self.breaks: set[int] = set()
        """Where its breakpoints are."""
        self.wanted = False
        """Whether the next stop is to be told whatever it is: the debugger asked for one."""
        self.forwarded = 0
        """Stops that it was told of, but for those that it asked for."""
        self._told: DebuggerStop | None = None
        self._news = trio.Event()

    def owns(self, stop: Stop) -> bool:
        """Whether the debugger is to be told of a stop."""
        if not self.attached or self.holds:
            return False
        if stop.reason == "watch":
            address = stop.watch_address
            return self._watch_of(stop) is not None or address in self.breaks or stop.vcpu == self.stepped
        return stop.reason == "other"

    def take(self, stop: Stop) -> None:
        """Tell the debugger of a stop, if it is its own, and hold the guest for it."""
        if not self.owns(stop):
            if self.wanted:
                self.hold(DebuggerStop(vcpu=stop.vcpu, interrupted=True))
            return
        self.forwarded += 1
        address = self._watch_of(stop)
        kind = None if address is None else self.watches[address]
        self.hold(DebuggerStop(vcpu=stop.vcpu, watch=kind, address=address))

    def _watch_of(self, stop: Stop) -> int | None:
        hit = (stop.watch_address, *sorted(stop.also_hit))
        return next((address for address in hit if address in self.watches), None)

    def hold(self, told: DebuggerStop) -> None:
        """Hold the guest, and say why; nothing when it is held already."""
        if self.holds:
            return
        self.holds, self.wanted, self.stepped = True, False, None
        self.number += 1
        self._told = told
        self._news.set()

    def release(self, stepped: int | None = None) -> None:
        """Hold the guest no more; ``stepped`` is the vCPU that is to execute one instruction."""
        self.holds, self.stepped = False, stepped

    async def wait_stop(self) -> DebuggerStop:
        """Wait for the next stop to report to the debugger; each is returned once."""
        while self._told is None:
            await self._news.wait()
        told, self._told, self._news = self._told, None, trio.Event()
        return told

    def forget(self) -> None:
        """Note that the debugger is gone, with all that it wanted."""
        self.attached = self.holds = self.wanted = False
        self.stepped, self._told = None, None
        self.watches.clear()
        self.breaks.clear()
        self._news = trio.Event()
