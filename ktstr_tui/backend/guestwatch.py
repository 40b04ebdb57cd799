"""The ways in which a guest ends a run: it leaves, dies, never comes up, falls silent, or is run no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.guest_time import sleep_or
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import Machine, MachineExit
from ktstr_tui.health.stuck import HOW_WORDS, How, Stuck, Threads
from ktstr_tui.model.end_words import SCENARIO_FINISHED
from ktstr_tui.model.errors import GuestError, HostError, InternalError, KtstrError
from ktstr_tui.model.events import Event

DRAIN_S = 2.0
"""How long the guest's last words may take to be read when it is gone."""
ANSWERS_S = 5.0
"""How long QEMU's monitor may take to answer when the guest executes nothing."""
CONSOLE_HINT = "the whole console is in console.log of the run's directory"

STALE_INT3 = "Oops: int3"
"""How a kernel dies that ran an int3 which it had removed already; see `guest.qemu_program.threads_for`."""
STALE_INT3_HINT = (
    "QEMU emulated an instruction that the kernel had replaced, which is a rare defect of its emulation "
    "and not the scheduler's fault: start the run again; with --seed, or KTSTR_TCG_THREADS=single, it cannot happen"
)


def exit_error(exit_: MachineExit, *, finished: bool) -> KtstrError | None:
    """What a machine's end means; None when it was in order.

    Args:
        exit_: How QEMU ended.
        finished: Whether the guest had said its last word (the Exit frame) before.
    """
    if exit_.reason == "quit" or (exit_.reason == "poweroff" and finished):
        return None
    tail = exit_.console_tail
    if exit_.reason == "qemu-error":
        return HostError(exit_.detail, "run ktstr-tui doctor")
    if exit_.reason == "poweroff":
        return GuestError("the guest powered off before the end of its scenario", CONSOLE_HINT, tail)
    if exit_.reason == "killed":
        return GuestError(
            exit_.detail, "something on this host ended QEMU; look for the OOM killer in dmesg", tail
        )
    if exit_.reason == "panic" and any(STALE_INT3 in line for line in tail):
        return GuestError(f"{exit_.detail} (stale int3)", STALE_INT3_HINT, tail)
    return GuestError(exit_.detail, CONSOLE_HINT, tail)


async def watch_exit(
    machine: Machine, ending: RunEnd, finished: Callable[[], bool], drained: trio.Event
) -> None:
    """End the run when the machine ends, and what it said last has been read."""
    exit_ = await machine.wait_exit()
    with trio.move_on_after(DRAIN_S):
        await drained.wait()
    error = exit_error(exit_, finished=finished())
    ending.set(error.message if error else SCENARIO_FINISHED, error)


async def watch_boot(
    ready: trio.Event,
    machine: Machine,
    ending: RunEnd,
    deadline_s: float,
    sleep: Callable[[float], Awaitable[None]] = trio.sleep,
) -> None:
    """End the run when the guest is not up in time."""
    await sleep_or(ready, sleep, deadline_s)
    if ready.is_set():
        return
    message = f"the guest was not up within {deadline_s:g} s"
    hint = "raise --boot-deadline on a slow host; " + CONSOLE_HINT
    ending.set(message, GuestError(message, hint, machine.console.tail()))


async def watch_silence(
    last_frame_ns: Callable[[], int],
    frozen_between_ns: Callable[[int, int], int],
    clock: Callable[[], int],
    machine: Machine,
    ending: RunEnd,
    limit_s: float,
    sleep: Callable[[float], Awaitable[None]] = trio.sleep,
) -> None:
    """End the run when the guest sends nothing for ``limit_s``; time in which it was frozen does not count.

    The guest program reports every second, as a real-time task, so only a kernel that no longer runs falls silent.
    """
    while True:
        await sleep(min(1.0, limit_s / 4))
        last, now = last_frame_ns(), clock()
        silent_ns = now - last - frozen_between_ns(last, now)
        if silent_ns > limit_s * 1e9:
            message = f"the guest hangs: no activity for {silent_ns / 1e9:.0f} s"
            ending.set(message, GuestError(message, CONSOLE_HINT, machine.console.tail()))
            return


async def watch_stuck(
    machine: Machine, ending: RunEnd, emit: Callable[[Event], object], limit_s: float
) -> None:
    """End a run with a seed whose machine executes nothing any more; returns at once for any other.

    Nothing else would: whatever judges it goes by the guest's clock, which stands then.
    """
    if machine.stations is not None:
        error = await until_stuck(machine, emit, limit_s)
        ending.set(error.message, error)


async def until_stuck(machine: Machine, emit: Callable[[Event], object], limit_s: float) -> KtstrError:
    """Return when a machine that is observed has executed nothing for so long, and say whose fault that is.

    Raises:
        InternalError: The machine is not observed.
    """
    engine, stations = machine.engine, machine.stations
    if stations is None or not isinstance(engine, HoldEngine):
        raise InternalError("only of an observed machine it is known when it executes")

    def held() -> bool:
        # A hold in which QEMU owes us an answer is QEMU's, and not ours.
        return engine.held is not None and not machine.qmp.busy

    stuck = Stuck(Threads(machine.pid).read, lambda: (stations.visited, engine.counts), held, emit, limit_s)
    how = await stuck.run()
    answers = False
    if how != "stopped":
        with suppress(GuestError):
            await machine.qmp.execute("query-status", timeout_s=ANSWERS_S)
            answers = True
    return stuck_error(how, stuck.counted_s, machine.console.tail(), answers=answers)


def stuck_error(how: How, counted_s: float, tail: tuple[str, ...], *, answers: bool) -> KtstrError:
    """Whose fault it is that a machine executes nothing.

    Args:
        how: What QEMU does instead.
        counted_s: For how long.
        tail: The last lines of the guest's console.
        answers: Whether QEMU's monitor answers all the same.
    """
    nothing = f"the guest has executed nothing for {counted_s:.0f} s"
    if how == "sleeps" and answers:
        message = (
            f"the guest hangs: {nothing.removeprefix('the guest ')}, as all its CPUs are halted for good"
        )
        return GuestError(message, CONSOLE_HINT, tail)
    if how == "stopped":
        return HostError(
            f"{nothing}: {HOW_WORDS[how]}",
            "a program or person on this host stopped it (SIGSTOP) and did not continue it: start the run again",
        )
    monitor = "and its monitor answers" if answers else "and its monitor does not answer"
    return HostError(
        f"{nothing}: {HOW_WORDS[how]}, {monitor}",
        "QEMU hangs, which is not the scheduler's fault: start the run again; should it hang there once more, "
        "try another QEMU (KTSTR_QEMU)",
    )
