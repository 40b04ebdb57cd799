"""The source of a run's scheduler: builds it, loads it into the running guest, and boots the guest again.

It lives as long as the run, over all boots of the guest. It changes nothing by itself: a new scheduler and a new boot
are asked of the control loop, as everything else is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.edit.rebuild import EditPlan, Rebuilder
from ktstr_tui.backend.edit.saves import files_to_watch, watch_saves
from ktstr_tui.backend.scheduler_ops import require_timeouts
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.model.commands import SchedulerAnswer
from ktstr_tui.model.control import Action, ArmWatch, ReplaceScheduler
from ktstr_tui.model.errors import HostError, InternalError, KtstrError, UsageError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.scheduler_swap import ReplaceOutcome
from ktstr_tui.model.state import RunState

BY = "edit"
"""Who asks the control loop."""
BUILDS_DIR = "builds"


class Asks(Protocol):
    """Asks the control loop for an action."""

    async def ask(self, by: str, action: Action) -> object:
        """Wait for what comes of it.

        Raises:
            KtstrError: It failed, or was given up.
        """
        ...


def plan_edits(config: RunConfig, data_dir: Path) -> EditPlan | None:
    """What is built and watched; None for a run that is not edited.

    Raises:
        UsageError: A file to watch is not there.
    """
    if not config.edits or config.scheduler is None:
        return None
    scheduler = Path(config.scheduler).expanduser().absolute()
    return EditPlan(
        scheduler=scheduler,
        command=config.build,
        files=files_to_watch(config.watch_files, scheduler),
        log_dir=data_dir / BUILDS_DIR,
    )


def load_object(scheduler: Path) -> ReplaceScheduler:
    """Read an object that is to be loaded, as the action that loads it.

    Raises:
        UsageError: It is no scheduler, or one that the kernel is known to refuse.
    """
    payload = resolve_scheduler(str(scheduler))
    if payload.kind != "object":
        raise UsageError(f"{scheduler} is not a BPF object", "only objects are loaded into a running guest")
    (file,) = payload.files.values()
    content = file.read()
    require_timeouts(payload.name, content)
    digest = hashlib.sha256(content).hexdigest()
    return ReplaceScheduler(name=payload.name, path=str(scheduler), digest=digest, target=payload.name)


class Editor:
    """Builds and loads one run's scheduler.

    Args:
        plan: What is built.
        asks: Asks the control loop.
        emit: Takes events.
        clock: Host monotonic clock.
    """

    def __init__(
        self, plan: EditPlan, asks: Asks, emit: Callable[[Event], object], clock: Callable[[], int]
    ) -> None:
        self._plan, self._asks, self._emit = plan, asks, emit
        self.rebuilder = Rebuilder(plan, self, emit, clock)
        """Builds one at a time."""

    async def swap(self, scheduler: Path) -> ReplaceOutcome:
        """Load an object in place of the scheduler that runs.

        Raises:
            KtstrError: The object is no scheduler, or there is no guest.
        """
        action = await trio.to_thread.run_sync(load_object, scheduler)
        answer = await self._asks.ask(BY, action)
        if not isinstance(answer, SchedulerAnswer):
            raise InternalError("a new scheduler came to no outcome")
        return answer.outcome

    async def run(self) -> None:
        """Build at every save and as asked until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.rebuilder.run)
            nursery.start_soon(self._watch)

    async def _watch(self) -> None:
        names = ", ".join(sorted({path.name for path in self._plan.files}))
        self._emit(Logged(severity="info", source="edit", text=f"watching {names}"))
        try:
            await watch_saves(self._plan.files, self.rebuilder.saved)
        except HostError as error:
            text = f"{error.message}: {error.hint}"
            self._emit(Logged(severity="error", source="edit", text=text))


def watches_to_keep(state: RunState, of_scenario: Sequence[str]) -> tuple[ArmWatch, ...]:
    """The watches of people, to be armed again by their expressions in a new boot.

    Args:
        state: The run.
        of_scenario: Expressions that the scenario itself asks for again.
    """
    kept = [it for slot, it in sorted(state.watchpoints.items()) if slot]
    return tuple(
        ArmWatch(
            expression=it.expression,
            length_bytes=it.length_bytes or 4,
            once=it.once,
            capture=it.capture,
            **({} if it.budget_per_s is None else {"budget_per_s": it.budget_per_s}),
        )
        for it in kept
        if it.state in ("armed", "pending", "paused") and it.expression not in of_scenario
    )


async def arm_again(
    watches: Sequence[ArmWatch],
    asks: Asks,
    ready: Callable[[], Awaitable[object]],
    emit: Callable[[Event], object],
) -> None:
    """Arm the watches of the boot before once the guest's memory can be read by type.

    Args:
        watches: See `watches_to_keep`.
        asks: Asks the control loop.
        ready: Waits until they can be armed.
        emit: Takes a word of each that could not be.
    """
    await ready()
    for watch in watches:
        try:
            await asks.ask(BY, watch)
        except KtstrError as error:
            text = f"the watch {watch.expression} of the boot before is not armed again: {error.message}"
            emit(Logged(severity="warning", source="edit", text=text))
