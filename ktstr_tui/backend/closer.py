"""What is looked at more closely when a run is had again: watches, captures at instants, and where it is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.guest.guest_time import START_NS, RunTime
from ktstr_tui.model.control import ArmWatch
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged


async def look_closer(
    config: RunConfig,
    coordinator: Coordinator,
    arm: Callable[[ArmWatch], Awaitable[object]],
    time: RunTime,
    emit: Callable[[Event], object],
    held: Callable[[], object] = lambda: None,
    restore: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
) -> None:
    """Do what was asked for, each thing at its time.

    Args:
        config: What was asked for; instants are those of the run's own clock, without what a person freezes.
        coordinator: Captures and freezes.
        arm: Arms a watch.
        time: The run's.
        emit: Takes events.
        held: Called when the guest is frozen where that was asked for, or cannot be.
        restore: Goes on from there, where the run is one again to restore a snapshot of it.
    """

    async def attempt(what: str, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except KtstrError as error:
            hint = f"; {error.hint}" if error.hint else ""
            emit(Logged(severity="error", source="rerun", text=f"{what}: {error.message}{hint}"))

    async def at(instant_ns: int, what: str, work: Callable[[], Awaitable[object]]) -> None:
        # Whoever freezes the guest meanwhile moves the clock, and not the instant.
        while (left_ns := instant_ns - (time.now_ns() - coordinator.frozen_total_ns())) > 0:
            await time.sleep(left_ns / 1e9)
        await attempt(what, work)

    async def hold(reason: str) -> None:
        try:
            await coordinator.freeze(reason)
        finally:
            held()
        if config.restores_again:
            await restore()

    async with trio.open_nursery() as nursery:
        for instant_ns in config.captures_at_ns:
            words = f"{_seconds(instant_ns):.3f} s of the run"
            take = partial(coordinator.capture, "on-demand", words)
            nursery.start_soon(at, instant_ns, f"no capture at {words}", take)
        if config.freeze_at_ns is not None:
            reason = f"the run was to be held at {_seconds(config.freeze_at_ns):.3f} s"
            nursery.start_soon(at, config.freeze_at_ns, "not frozen", partial(hold, reason))
        for expression in config.watches:
            await attempt(f"no watch on {expression}", partial(arm, ArmWatch(expression=expression)))


def _seconds(instant_ns: int) -> float:
    """An instant of the run's clock as all show it and ``rerun --to`` takes it: since the start of its machine."""
    return (instant_ns - START_NS) / 1e9
