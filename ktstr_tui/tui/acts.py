"""A scenario that explains itself: before each step that says what it is about, the guest is frozen until a key.

The run knows nothing of it. The guest is frozen once a sample shows the step's tasks at work, which is a fraction of a
second into the step: at its very beginning every CPU is idle, and there is nothing to look at. Frozen time counts
neither for the step nor for the kernel's clocks. Without a screen, or on a screen that did not start the run, nothing
waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from ktstr_tui.model.commands import Freeze, Thaw
from ktstr_tui.text.lines import clean
from ktstr_tui.tui.actions import window_bindings
from ktstr_tui.tui.view import View

WHY = "the scenario waits for a key"
"""What the guest is frozen for, as every viewer sees it."""
AT_WORK_NS: Final = 100_000_000
"""How long after its beginning a step's tasks are surely at work, on the run's clock."""


@dataclass(frozen=True, slots=True)
class Act:
    """A step to explain."""

    number: int
    """Counted from 1."""
    of: int
    name: str
    about: str


class ActPage(ModalScreen[bool]):
    """Explains a step; the answer is whether later steps are to be explained too.

    Args:
        act: The step.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space,escape", "dismiss(True)", "Continue", id="act.continue"),
        Binding("n", "dismiss(False)", "Continue without pauses", id="act.skip"),
        *window_bindings(),
    ]

    def __init__(self, act: Act) -> None:
        super().__init__()
        self.act = act

    def compose(self) -> ComposeResult:
        with Vertical(id="act") as box:
            box.border_title = f"Step {self.act.number} of {self.act.of}: {clean(self.act.name)}"
            box.border_subtitle = "enter to continue · n to continue without pauses"
            yield Static(Content(clean(self.act.about).strip()))


class Acts:
    """Decides which step is to be explained, and plays it.

    Args:
        view: The run; it must be this screen's own.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._seen = -1
        """Index of the newest step that was looked at."""
        self._wanted = True
        self._frozen = False

    def take(self) -> Act | None:
        """Return the step that has begun since the last call, if it is to be explained."""
        state = self._view.source.state
        step, info = state.step, state.info
        if step is None or info is None or step.index <= self._seen:
            return None
        if info.sample_hz and not any(
            cpu.last_mono_ns >= step.started_mono_ns + AT_WORK_NS for cpu in state.cpus.values()
        ):
            return None
        self._seen = step.index
        about = info.about[step.index] if step.index < len(info.about) else ""
        if not about or not self._wanted or self._view.refusal("freeze"):
            return None
        return Act(number=step.index + 1, of=len(info.about), name=step.name, about=about)

    async def play(self, act: Act, show: Callable[[ActPage], Awaitable[bool]]) -> None:
        """Freeze the guest, show the page, and let the guest run again."""
        reply = await self._view.source.command(Freeze(why=WHY, while_here=True))
        self._frozen = reply.ok
        try:
            self._wanted = await show(ActPage(act))
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Let the guest run again if it is frozen for an act."""
        if self._frozen:
            self._frozen = False
            await self._view.source.command(Thaw())
