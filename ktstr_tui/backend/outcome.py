"""How a run ends: the first cause wins. What that makes of the run is in `model.verdict`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import trio

from ktstr_tui.guest.guest_files import NO_SCHEDULER
from ktstr_tui.guest.scenario import Step
from ktstr_tui.model.errors import GuestError, KtstrError
from ktstr_tui.model.events import RunEnded
from ktstr_tui.model.state import RunState
from ktstr_tui.model.verdict import end_reason, exit_code


class RunOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run; ``error`` is None when it ended as asked."""

    reason: str
    error: KtstrError | None = None
    not_attached: str = ""
    """The scheduler that was still being loaded when the duration of the run was over; empty for none."""
    out_of_time: bool = False
    """Whether the duration of the run was over."""
    early: bool = False
    """Whether somebody ordered it before that and before the scenario was over."""
    restart: bool = False
    """Only this boot has ended; the guest is booted again."""

    @property
    def console_tail(self) -> tuple[str, ...]:
        """The guest's last console lines, when the guest is at fault."""
        return self.error.console_tail if isinstance(self.error, GuestError) else ()

    def told(self, state: RunState, console_tail: tuple[str, ...] = ()) -> RunEnded:
        """What is said of the run.

        Args:
            state: All that happened in it.
            console_tail: The last lines of what is to blame.
        """
        error = self.error
        wanted = state.info is not None and state.info.sample_hz > 0
        unseen = self.out_of_time and wanted and not state.samples
        code = error.exit_code if error else None
        return RunEnded(
            exit_code=exit_code(state, code, self.not_attached, unseen=unseen),
            reason=end_reason(state, self.reason, self.not_attached, unseen=unseen),
            not_attached=self.not_attached,
            fault=error.fault if error else "",
            hint=error.hint if error else "",
            console_tail=console_tail,
            early=self.early,
        )


def being_loaded(state: RunState, steps: Sequence[Step], mono_ns: int) -> str:
    """The scheduler that the scenario waits for; empty for none.

    Args:
        state: The run so far. The guest says that a step begins when its scheduler is attached.
        steps: The scenario.
        mono_ns: Now, on the host's monotonic clock.
    """
    began = state.step
    index = 0 if began is None else began.index + 1
    if index >= len(steps) or state.phase in ("finished", "ended"):
        return ""
    if began is not None:
        ran_ms = (mono_ns - began.started_mono_ns) / 1e6 - state.frozen_total_ms
        told = sum(it.step == began.index and it.mono_ns >= began.started_mono_ns for it in state.stimuli)
        goes_on = ran_ms < steps[began.index].duration_ms or told < len(steps[began.index].ops)
        if goes_on or steps[index].scheduler == began.scheduler:
            return ""
    return "" if steps[index].scheduler == NO_SCHEDULER else steps[index].scheduler


class RunEnd:
    """A set-once outcome that tasks wait for.

    Args:
        waits_for: Names the scheduler that is being loaded. It is asked when time is up, and not later: a guest that
            is taken down says that its scenario has ended.
    """

    def __init__(self, waits_for: Callable[[], str] = str) -> None:
        self._waits_for = waits_for
        self._event = trio.Event()
        self.outcome: RunOutcome | None = None
        self.hurry = trio.Event()
        """Set when nothing is to be waited for any more."""

    def set(self, reason: str, error: KtstrError | None = None) -> None:
        """End the run; only the first call counts."""
        self._set(RunOutcome(reason=reason, error=error))

    def stop(self, reason: str, *, out_of_time: bool = False) -> None:
        """End the run as somebody ordered, also when this boot ends for a restart already."""
        if self.outcome is not None and self.outcome.restart:
            self.outcome = None
        not_attached = self._waits_for() if out_of_time and self.outcome is None else ""
        self._set(
            RunOutcome(
                reason=reason, not_attached=not_attached, out_of_time=out_of_time, early=not out_of_time
            )
        )

    def restart(self, reason: str) -> bool:
        """End this boot, so that the guest is booted again; returns False when it ends already."""
        if self.outcome is not None:
            return False
        self._set(RunOutcome(reason=reason, restart=True))
        return True

    async def give_up_when_hurried(self, waiting: trio.CancelScope) -> None:
        """Cancel something that waits once nothing is to be waited for any more."""
        await self.hurry.wait()
        waiting.cancel()

    def again(self) -> None:
        """Begin another boot after one that ended for a restart."""
        self.outcome, self._event = None, trio.Event()

    def _set(self, outcome: RunOutcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._event.set()

    async def wait(self) -> RunOutcome:
        """Wait until the run is to end."""
        while (outcome := self.outcome) is None:
            await self._event.wait()
        return outcome
