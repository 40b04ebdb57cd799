"""Builds when a file is saved or somebody asks, one build at a time, and gives what was built to the running guest.

Whoever asks during a build gets another one after it, and only one however often they ask: what counts is that a build
begins after the newest save. A build that fails and a scheduler that is refused leave everything as it was and are said
in an alert, which a change that works takes back.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from ktstr_tui.backend.edit.command import BuildResult, run_build
from ktstr_tui.model.edit import BuildPhase, BuildReason
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import AlertCleared, AlertRaised, BuildChanged, BuildLoaded, Event
from ktstr_tui.model.scheduler_swap import ReplaceOutcome, SwapFailed, SwapRejected, SwapTimedOut

ALERT_KEY = "edit"


class Swapper(Protocol):
    """Gives an object to the running guest."""

    async def swap(self, scheduler: Path) -> ReplaceOutcome:
        """Load it in place of the scheduler that runs.

        Raises:
            KtstrError: It could not be tried: there is no guest, or the object is none.
        """
        ...


class EditPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is built, from what, into what."""

    scheduler: Path
    command: str = ""
    """Empty when somebody else builds, and the object itself is watched."""
    files: tuple[Path, ...] = ()
    log_dir: Path


class _Wish(msgspec.Struct, frozen=True):
    why: BuildReason
    files: tuple[Path, ...]
    asked_ns: int


Run = Callable[[str, Path], Awaitable[BuildResult]]


class Rebuilder:
    """The builds of one run.

    Args:
        plan: What is built.
        swapper: Takes what was built.
        emit: Takes events.
        clock: Host monotonic clock.
        run: Runs the command.
    """

    def __init__(
        self,
        plan: EditPlan,
        swapper: Swapper,
        emit: Callable[[Event], object],
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        run: Run = run_build,
    ) -> None:
        self._plan, self._swapper, self._emit, self._clock, self._run = plan, swapper, emit, clock, run
        self._wish: _Wish | None = None
        self._asked = trio.Event()
        self._building: trio.CancelScope | None = None
        self._builds = 0
        self.joined = 0
        """Wishes that one build answered together with another."""
        self._alarmed = False

    def ask(self, why: BuildReason, files: Sequence[Path] = ()) -> bool:
        """Ask for a build; returns False when one that has not begun yet was asked for already."""
        before = self._wish
        if before is None:
            self._wish = _Wish(why, tuple(files), self._clock())
        else:
            # The time counts from the first save that is not in a build yet.
            self.joined += 1
            known = tuple(dict.fromkeys((*before.files, *files)))
            self._wish = _Wish(before.why, known, before.asked_ns)
        self._asked.set()
        return before is None

    def saved(self, files: Sequence[Path]) -> None:
        """Files were saved."""
        self.ask("save", files)

    def cancel(self) -> bool:
        """Give up the build that is going on; returns whether there was one."""
        if self._building is None:
            return False
        self._building.cancel()
        return True

    async def run(self) -> None:
        """Build as asked until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            wish, self._wish = self._wish, None
            if wish is not None:
                await self._once(wish)

    async def _once(self, wish: _Wish) -> None:
        built_ms: float | None = None
        if self._plan.command:
            self._builds += 1
            result = await self._build(wish)
            if result is None or not result.ok:
                return
            built_ms = result.duration_ms
        await self._swap(wish, built_ms)

    async def _build(self, wish: _Wish) -> BuildResult | None:
        self._tell_build("started", wish)
        path = self._plan.log_dir / f"build-{self._builds:03d}.log"
        result = None
        with trio.CancelScope() as self._building:
            result = await self._run(self._plan.command, path)
        self._building = None
        if result is None:
            self._tell_build("cancelled", wish)
            return None
        self._tell_build("built" if result.ok else "failed", wish, result)
        if not result.ok:
            self._alarm(f"build {self._builds} failed: {result.headline}")
        return result

    def _tell_build(self, phase: BuildPhase, wish: _Wish, result: BuildResult | None = None) -> None:
        event = BuildChanged(
            build=self._builds,
            phase=phase,
            command=self._plan.command,
            why=wish.why,
            files=tuple(path.name for path in wish.files),
        )
        if result is not None:
            event = msgspec.structs.replace(
                event,
                exit_code=result.exit_code,
                duration_ms=result.duration_ms,
                headline=result.headline,
                log=result.log,
                unkept_bytes=result.unkept_bytes,
                path=result.path,
            )
        self._emit(event)

    async def _swap(self, wish: _Wish, built_ms: float | None) -> None:
        began_ns, name, reason = self._clock(), self._plan.scheduler.name, ""
        try:
            outcome = await self._swapper.swap(self._plan.scheduler)
        except KtstrError as error:
            reason = error.message
            outcome = SwapFailed(took_ms=0, reason=reason)
        now_ns = self._clock()
        self._emit(
            BuildLoaded(
                build=self._builds,
                name=name,
                result=outcome.result,
                reason=reason,
                duration_ms=(now_ns - began_ns) / 1e6,
                build_ms=built_ms,
                since_save_ms=(now_ns - wish.asked_ns) / 1e6,
            )
        )
        match outcome:
            case SwapRejected() | SwapFailed():
                kept = f"; {outcome.loaded} stays loaded" if outcome.loaded else ""
                what = "was refused" if isinstance(outcome, SwapRejected) else "could not be loaded"
                self._alarm(f"{name} {what}: {outcome.reason}{kept}")
            case SwapTimedOut():
                self._alarm(f"{name} could not be loaded: no answer from the guest")
            case _:
                self._clear_alarm()

    def _clear_alarm(self) -> None:
        if self._alarmed:
            self._emit(AlertCleared(key=ALERT_KEY, kind="edit"))
        self._alarmed = False

    def _alarm(self, text: str) -> None:
        self._alarmed = True
        self._emit(AlertRaised(key=ALERT_KEY, kind="edit", severity="warning", text=text))
