"""The engine: whatever can stop the guest, read its registers and watch its memory for writes.

There is one interface, so that everything above it does not know how the guest is stopped. The life of an engine::

                   stop(), or a write to a watched address
        running ──────────────────────────────────────────▶ stopped
           ▲    wait_stop() says why                           │  registers, arm_watch, disarm_watch
           └───────────────────────────────────────────────────┘
                                resume()

    at any moment: EngineLostError, and after it nothing but that error

The rules that every engine keeps (``tests/contracts/engine.py`` checks them):

* All vCPUs stop, or none does. A stop says which vCPU stopped first and why.
* What needs a stopped guest is refused with `InternalError` while it runs, and the other way round; a refused
  call changes nothing.
* A write to a watched address gives one stop, as does a call of a watched function. When `Engine.stop` and such a
  write meet, there is one stop and not two; its reason is either of them. So after *any* stop, whoever watches an
  address looks at its value.
* Every wait may be cancelled. A stop that was asked for and not waited for is delivered to the next
  `Engine.wait_stop` or `Engine.stop`.
* An engine belongs to one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from ktstr_tui.model.errors import GuestError

__all__ = [
    "CALLS_HINT",
    "Engine",
    "EngineLostError",
    "EngineStatistics",
    "EngineTimeoutError",
    "Registers",
    "Stop",
    "StopReason",
    "StubEngine",
    "WatchLimits",
]

CALLS_HINT = "they can be in a run with a seed on QEMU 9.2 or newer: run --seed N"
StopReason: TypeAlias = Literal["watch", "interrupt", "other"]
"""A write to a watched address or a call of a watched function; `Engine.stop`; anything else, which nobody here
caused."""


class EngineTimeoutError(GuestError):
    """The engine did not answer in time; the guest may still stop later."""


class EngineLostError(GuestError):
    """The engine is gone, and the guest with it."""


class Stop(msgspec.Struct, frozen=True):
    """Why and where the guest stopped."""

    reason: StopReason
    vcpu: int = 0
    """The vCPU that stopped first, from 0."""
    watch_address: int | None = None
    """Address of the watch that was hit, as given to `Engine.arm_watch` or `Engine.arm_call`; None for the other
    reasons, and when it is not known which of several it was."""
    also_hit: frozenset[int] = frozenset()
    """Addresses of other watches that the same write hit, as far as the engine knows."""


class WatchLimits(msgspec.Struct, frozen=True):
    """What an engine can watch."""

    slots: int | None
    """Watches that may be armed at the same time; None when only the attempt shows it."""
    lengths_bytes: tuple[int, ...] = (1, 2, 4, 8)
    """Lengths that a watch may have; its address is a multiple of its length."""
    unlimited: bool = False
    """Watches of any length at any address, thousands of them, and calls of functions."""


class EngineStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and times since the engine was connected."""

    stops: int
    watch_stops: int
    """Those of them that a watch made."""
    last_stop_us: float | None = None
    """From the request to the stop, last time, in microseconds; None before the first."""
    max_stop_us: float | None = None


class Registers(msgspec.Struct, frozen=True):
    """The registers of one vCPU; all values unsigned."""

    rax: int
    rbx: int
    rcx: int
    rdx: int
    rsi: int
    rdi: int
    rbp: int
    rsp: int
    r8: int
    r9: int
    r10: int
    r11: int
    r12: int
    r13: int
    r14: int
    r15: int
    rip: int
    eflags: int | None
    """None when the engine cannot see all of it."""
    cs: int
    ss: int
    ds: int
    es: int
    fs: int
    gs: int
    fs_base: int
    gs_base: int
    k_gs_base: int | None
    """None when the engine cannot see it."""
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int | None
    """None when the engine cannot see it."""
    efer: int

    def by_name(self) -> dict[str, int]:
        """Those that the engine could see."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not None}


class Engine(Protocol):
    """Stops a guest and lets it run. The module's docstring has the rules."""

    @property
    def running(self) -> bool:
        """Whether the guest runs, as far as the engine knows."""
        ...

    @property
    def watch_limits(self) -> WatchLimits:
        """How many watches there may be, and how long each."""
        ...

    async def wait_stop(self) -> Stop:
        """Wait until the running guest stops, however long it takes.

        Raises:
            EngineLostError: The guest is gone.
            InternalError: The guest is stopped already.
        """
        ...

    async def stop(self, registers_of: Iterable[int] = ()) -> Stop:
        """Stop all vCPUs of the running guest, or take the stop of a watch that came first.

        Args:
            registers_of: vCPUs to ask for their registers at the same time, see `ask_registers`.

        Raises:
            EngineTimeoutError: The guest did not stop in time.
            EngineLostError: The guest is gone.
            InternalError: The guest is stopped already.
        """
        ...

    async def resume(self) -> None:
        """Let all vCPUs of the stopped guest run.

        Raises:
            EngineTimeoutError: The engine did not take the command.
            EngineLostError: The guest is gone.
            InternalError: The guest runs already.
        """
        ...

    async def ask_registers(self, vcpus: Iterable[int]) -> None:
        """Ask for the registers of several vCPUs of the stopped guest, without waiting for them.

        The engine may work on the answers while the caller does something else.

        Raises:
            EngineLostError: The guest is gone.
            InternalError: The guest runs.
        """
        ...

    async def next_registers(self) -> Registers:
        """Wait for the registers of the next vCPU that was asked for.

        Raises:
            EngineTimeoutError: No answer in time.
            EngineLostError: The guest is gone.
            InternalError: Nobody asked for registers, or there is no such vCPU.
        """
        ...

    async def arm_watch(self, address: int, length: int = 4) -> None:
        """Stop the guest at writes to these bytes from now on.

        Args:
            address: Guest-virtual address, a multiple of ``length``.
            length: In bytes, one of `WatchLimits.lengths_bytes`.

        Raises:
            HostError: No slot is left, or the accelerator has none.
            InternalError: The guest runs.
        """
        ...

    async def disarm_watch(self, address: int, length: int = 4) -> None:
        """Undo `arm_watch` of the same address and length.

        Raises:
            HostError: There is no such watch.
            InternalError: The guest runs.
        """
        ...

    async def arm_call(self, address: int, tell: Callable[[], bool]) -> None:
        """Stop the guest whenever the function at this address is called, before its first instruction.

        Args:
            address: Guest-virtual address of the function's first instruction.
            tell: Asked at each call; False lets the guest run on, as if nothing had been.

        Raises:
            HostError: This engine cannot, see `WatchLimits.unlimited`, or too many are armed.
            InternalError: The guest runs.
        """
        ...

    async def disarm_call(self, address: int) -> None:
        """Undo `arm_call`.

        Raises:
            HostError: That function is not watched.
            InternalError: The guest runs.
        """
        ...

    def statistics(self) -> EngineStatistics:
        """Return the counts and times so far."""
        ...

    def drops(self) -> Mapping[str, int]:
        """Return what was lost between the engine and here, by reason; reasons that never happened are 0."""
        ...


@runtime_checkable
class StubEngine(Protocol):
    """An engine that passes requests of gdb's protocol on to a stub, so that a debugger can be served."""

    resume_as: str
    """What each resume does, as the actions of ``vCont``: ``c``, or what a debugger asked for, such as ``s:1;c``."""

    @property
    def description(self) -> Mapping[str, str]:
        """The target description: XML by the name of its document."""
        ...

    async def ask(self, question: str) -> str:
        """Send a request to the stub of a stopped guest, and return its answer.

        Raises:
            EngineTimeoutError: No answer in time.
            EngineLostError: The guest is gone.
            InternalError: The guest runs.
        """
        ...
