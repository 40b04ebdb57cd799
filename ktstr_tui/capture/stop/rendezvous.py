"""One stop and go of all vCPUs: bounded in time, measured in its parts, and never left half done.

Whoever stops the guest owes it a resume. So stopping and resuming are shielded from cancellation between
the request and the answer, whether the guest is stopped is a fact of this object, and the coordinator resumes
it when it ends. A stop that does not come within the deadline is an error for the requester;
it may still come later, and the coordinator then finds a stop that nobody waits for and resumes the
guest.

The deadline has to stay well under the sched_ext watchdog (30 s at most, a few seconds in tests), because a
guest that is half stopped loses schedulers to it.
"""

from __future__ import annotations

import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import trio

from ktstr_tui.guest.engine import Engine, Stop
from ktstr_tui.model.errors import GuestError, HostError
from ktstr_tui.model.report import Pause

DEFAULT_TIMEOUT_S = 2.0
MAX_INTERVALS = 1024
"""Frozen intervals kept; the stall arithmetic looks back a few samples only."""


class RendezvousTimeoutError(GuestError):
    """The guest did not stop, answer or go on in time."""


class GuestLostError(GuestError):
    """The guest is stopped and cannot be resumed."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """Why registers of some vCPUs did not come."""

    text: str
    timed_out: bool
    """Whether the deadline passed; otherwise the guest is gone."""


class FrozenInterval(msgspec.Struct, frozen=True):
    """A stretch of host monotonic time in which the guest was stopped."""

    start_ns: int
    end_ns: int


class FrozenLog:
    """Keeps when the guest was stopped.

    Args:
        now_ns: Host monotonic clock.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self._since_ns: int | None = None
        self._total_ns = 0
        self._intervals: deque[FrozenInterval] = deque(maxlen=MAX_INTERVALS)

    @property
    def since_ns(self) -> int | None:
        """Since when it is stopped; None while it runs."""
        return self._since_ns

    @property
    def intervals(self) -> tuple[FrozenInterval, ...]:
        """The newest `MAX_INTERVALS`, oldest first; one that still lasts ends now."""
        standing = () if self._since_ns is None else (FrozenInterval(self._since_ns, self.now_ns()),)
        return (*self._intervals, *standing)

    def begin(self) -> None:
        """Note that the guest is stopped."""
        if self._since_ns is None:
            self._since_ns = self.now_ns()

    def end(self) -> None:
        """The guest runs."""
        if self._since_ns is not None:
            interval = FrozenInterval(self._since_ns, self.now_ns())
            self._intervals.append(interval)
            self._total_ns += interval.end_ns - interval.start_ns
            self._since_ns = None

    def total_ns(self) -> int:
        """All frozen time so far, the current stretch included."""
        return self._total_ns + (0 if self._since_ns is None else self.now_ns() - self._since_ns)

    def between_ns(self, start_ns: int, end_ns: int) -> int:
        """Frozen time within a stretch of host monotonic time."""
        overlaps = (min(end_ns, part.end_ns) - max(start_ns, part.start_ns) for part in self.intervals)
        return sum(overlap for overlap in overlaps if overlap > 0)

    def stood_ns(self, starts_ns: Container[int], since_ns: int) -> int:
        """How long the guest was stopped since ``since_ns`` in those stretches that began at ``starts_ns``."""
        stood = 0
        for part in reversed(self.intervals):
            if part.end_ns <= since_ns:
                break
            if part.start_ns in starts_ns:
                stood += part.end_ns - max(part.start_ns, since_ns)
        return stood


class Stopwatch:
    """The parts of one pause, in microseconds of host time."""

    def __init__(self) -> None:
        self._started_ns = time.perf_counter_ns()
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of a block to part ``name`` (``stop``, ``registers``, ``memory``, ``snapshot``, ``resume``)."""
        before_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            spent_us = (time.perf_counter_ns() - before_ns) / 1000
            self.parts[name] = self.parts.get(name, 0.0) + spent_us

    def pause(self) -> Pause:
        """The parts, and the total from the beginning to now."""
        return Pause(
            total_us=(time.perf_counter_ns() - self._started_ns) / 1000,
            stop_us=self.parts.get("stop"),
            registers_us=self.parts.get("registers"),
            memory_us=self.parts.get("memory"),
            snapshot_us=self.parts.get("snapshot"),
            resume_us=self.parts.get("resume"),
        )


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python's garbage collector out of a block: a full collection can cost more than the pause."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Rendezvous:
    """Stops and resumes the guest through the stub.

    Args:
        engine: Stops the guest.
        log: Keeps when the guest was stopped.
        timeout_s: Deadline of every single wait.
    """

    def __init__(self, engine: Engine, log: FrozenLog, timeout_s: float) -> None:
        self.engine = engine
        self.timeout_s = timeout_s
        self.log = log
        self.timeouts = 0
        self.watches_restored = 0
        """Watchpoints of ours that the engine no longer had, and has again."""
        self._asked = 0
        self._watches: Counter[tuple[int, int]] = Counter()

    @property
    def stopped(self) -> bool:
        """Whether all vCPUs are stopped."""
        return self.log.since_ns is not None

    def stopped_itself(self) -> None:
        """A watchpoint stopped the guest."""
        self.log.begin()

    @contextmanager
    def bounded(self, what: str) -> Iterator[None]:
        """Turn a wait that takes too long into an error."""
        try:
            with trio.fail_after(self.timeout_s):
                yield
        except trio.TooSlowError:
            self.timeouts += 1
            raise RendezvousTimeoutError(
                f"rendezvous timed out: {what} took longer than {self.timeout_s:g} s",
                "the host may be overloaded; try again",
            ) from None

    async def stop(self, registers_of: int = 0) -> Stop:
        """Stop all vCPUs.

        Args:
            registers_of: How many vCPUs to ask for their registers at the same time.

        Raises:
            RendezvousTimeoutError: Not all of them stopped in time.
        """
        # Shielded: a cancelled caller must not leave a stop on its way that nobody expects.
        with trio.CancelScope(shield=True), self.bounded("stopping the vCPUs"):
            reply = await self.engine.stop(range(registers_of))
            self.log.begin()
        self._asked = registers_of
        return reply

    async def resume(self) -> None:
        """Let all vCPUs run.

        Raises:
            GuestLostError: The stub did not take the command.
        """
        try:
            with trio.CancelScope(shield=True), self.bounded("resuming the vCPUs"):
                await self.engine.resume()
        except RendezvousTimeoutError as error:
            raise GuestLostError(error.message, "QEMU hangs: end the run") from error
        self.log.end()

    async def ask_registers(self, nr_cpus: int) -> Unheard | None:
        """Ask for the registers of all vCPUs, unless the stop did so; memory may be copied meanwhile.

        Returns:
            Why none will come; None when they will.
        """
        if self._asked == nr_cpus:
            return None
        try:
            with self.bounded("asking for registers"):
                await self.engine.ask_registers(range(nr_cpus))
        except GuestError as error:
            return Unheard(error.message, isinstance(error, RendezvousTimeoutError))
        return None

    async def take_registers(self, nr_cpus: int) -> tuple[list[dict[str, int]], Unheard | None]:
        """The registers asked for, of all vCPUs that answer in time, by number, and why the rest is missing.

        Registers are fetched at every stop, so none are ever left over from an earlier one; a vCPU that
        did not answer has an empty record.
        """
        registers: list[dict[str, int]] = []
        missing: Unheard | None = None
        self._asked = 0
        try:
            with self.bounded("reading registers"):
                for _ in range(nr_cpus):
                    registers.append((await self.engine.next_registers()).by_name())
        except GuestError as error:
            text = f"vCPUs {len(registers)} to {nr_cpus - 1}: {error.message}"
            missing = Unheard(text, isinstance(error, RendezvousTimeoutError))
            registers += [{}] * (nr_cpus - len(registers))
        return registers, missing

    async def registers_of(self, vcpu: int) -> dict[str, int]:
        """Registers of one vCPU.

        Raises:
            GuestError: It did not answer in time.
        """
        with self.bounded("reading registers"):
            await self.engine.ask_registers([vcpu])
            return (await self.engine.next_registers()).by_name()

    async def arm_watch(self, address: int, length: int) -> None:
        """Stop the guest at writes to these bytes. Whoever wants the same bytes shares one watchpoint.

        Raises:
            HostError: The accelerator refuses.
            RendezvousTimeoutError: The stub did not answer in time.
        """
        if not self._watches[address, length]:
            with self.bounded("setting a watchpoint"):
                await self.engine.arm_watch(address, length)
        self._watches[address, length] += 1

    async def disarm_watch(self, address: int, length: int) -> None:
        """Undo one `arm_watch` of these bytes.

        Raises:
            HostError: There is no such watchpoint.
            RendezvousTimeoutError: The stub did not answer in time.
        """
        self._watches[address, length] -= 1
        if self._watches[address, length] <= 0:
            del self._watches[address, length]
            with self.bounded("removing a watchpoint"):
                await self.engine.disarm_watch(address, length)

    async def arm_call(self, address: int, tell: Callable[[], bool]) -> None:
        """Stop the guest at calls of a function; see `Engine.arm_call`.

        Raises:
            HostError: The engine cannot.
            RendezvousTimeoutError: It did not answer in time.
        """
        with self.bounded("setting a watchpoint"):
            await self.engine.arm_call(address, tell)

    async def disarm_call(self, address: int) -> None:
        """Undo `arm_call`; raises as it does."""
        with self.bounded("removing a watchpoint"):
            await self.engine.disarm_call(address)

    async def restore_watches(self) -> list[int]:
        """Set those watchpoints again that somebody else removed, and return their addresses.

        No engine tells what it watches; but removing what is not there is refused, so each is removed and set again.

        Raises:
            HostError: The accelerator refuses.
            RendezvousTimeoutError: The stub did not answer in time.
        """
        lost = []
        for address, length in list(self._watches):
            with self.bounded("looking after a watchpoint"):
                try:
                    await self.engine.disarm_watch(address, length)
                except HostError:
                    lost.append(address)
                await self.engine.arm_watch(address, length)
        self.watches_restored += len(lost)
        return lost
