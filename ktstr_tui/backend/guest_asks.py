"""Captures and watches that the guest asks for, on their way to the control loop."""

from __future__ import annotations

from ktstr_tui.backend.setup import Setup
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.control import ArmWatch
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import CaptureReport


class GuestAsks:
    """Asks for what the guest wants, in its name.

    Args:
        stream: Knows the captures.
        setup: What the run is made with.
    """

    def __init__(self, stream: Stream, setup: Setup) -> None:
        self._stream, self._setup = stream, setup

    async def capture(self, tag: str) -> CaptureReport:
        """Take a capture, not in the place of a report that somebody else asked for.

        Raises:
            UsageError: There is one of that tag, which is not the guest's.
            KtstrError: It failed, or was given up.
        """
        kept = (entry.report for entry in self._stream.state.captures)
        if any(report.tag == tag and report.trigger != "guest" for report in kept):
            raise UsageError(f"a capture {tag} exists already and is not the guest's", "choose another tag")
        memory = self._setup.prepared.scenario.keeps_memory(tag)
        desk = self._setup.control.desk
        return await desk.capture("guest", "requested by the scenario", tag, memory=memory)

    async def watch(self, symbol: str) -> None:
        """Capture at every write to a symbol from now on.

        Raises:
            KtstrError: It cannot be watched.
        """
        await self._setup.control.desk.ask("guest", ArmWatch(expression=symbol, capture=True))
