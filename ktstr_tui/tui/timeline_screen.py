"""The timeline: lanes of CPUs and tasks, live, frozen, in a replay, or of a capture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType

from ktstr_tui.model.report import CaptureReport
from ktstr_tui.text.lines import Line, clean, spread
from ktstr_tui.tui.actions import bindings
from ktstr_tui.tui.bars import badges
from ktstr_tui.tui.key_bar import KeyBar
from ktstr_tui.tui.pane import LineBar, LinePane
from ktstr_tui.tui.run_screen import RunScreen, TooSmall
from ktstr_tui.tui.timeline_pane import TimelinePane
from ktstr_tui.tui.view import View


class TimelineBar(LineBar):
    """What the timeline is of."""

    def __init__(self, name: str, report: CaptureReport | None, pane: TimelinePane) -> None:
        super().__init__(name)
        self._report, self._pane = report, pane

    def lines(self, view: View, width: int) -> list[Line]:
        left: Line = [(" timeline ", "badge-info"), ("  ", "")]
        if self._report is not None:
            left += [(f"up to the stop of {clean(self._report.tag)}", "strong")]
        elif self._pane.at_ns is None:
            left += [("follows the newest moment", "strong")]
        else:
            left += [("stays where it is", "strong"), ("  end follows again", "dim")]
        if self._pane.pids and not self._pane.chosen:
            left += [("   lanes: who ran or waited most", "dim")]
        span = self._pane.span_ns
        size = (
            f"{span / 1e9:.3g} s"
            if span >= 1e9
            else f"{span / 1e6:.3g} ms"
            if span >= 1e6
            else f"{span / 1e3:.3g} µs"
        )
        return [spread(left, [*badges(view), (f" {size} wide ", "dim")], width)]


class TimelineScreen(RunScreen):
    """Who had each CPU when.

    Args:
        view: Where the run is seen.
        pids: Tasks that have a lane from the begin.
        report: The capture that it is of; None for the run.
    """

    place = "timeline"
    BINDINGS: ClassVar[list[BindingType]] = bindings("timeline")

    def __init__(self, view: View, pids: Sequence[int] = (), report: CaptureReport | None = None) -> None:
        super().__init__(view)
        history = None if report is None else report.history
        block = None if history is None else history.block
        self._report = report
        self.pane = TimelinePane("timeline", block, pids, None if block is None else block.now_ns)

    def compose(self) -> ComposeResult:
        yield TimelineBar("timeline-bar", self._report, self.pane)
        yield self.pane
        yield KeyBar()
        yield TooSmall()

    def on_mount(self) -> None:
        if self._report is None:
            # From here on all the time: so it is there when the run has ended.
            self.view.source.want_trace()
        self.set_focus(self.pane)
        self.call_after_refresh(self.sync)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.sync)

    def sync(self) -> None:
        """Paint what has changed."""
        for bar in self.query(LineBar):
            bar.sync(self.view)
        self.pane.sync(self.view)
        self.sync_footer()

    def filter_target(self) -> LinePane:
        """The pane that a filter applies to."""
        return self.pane

    def action_zoom(self, step: int) -> None:
        self.pane.zoom(step)
        self.sync()

    def action_pan(self, step: int) -> None:
        self.pane.pan(step)
        self.sync()

    def action_event(self, step: int) -> None:
        self._done(self.pane.next_event(step))

    def action_mark(self, step: int) -> None:
        self._done(self.pane.next_mark(step))

    def action_remove(self) -> None:
        self._done("" if self.pane.remove_lane() else "Only the lane of a task can be removed.")

    def _done(self, refusal: str) -> None:
        """A key that does nothing says why."""
        if refusal:
            self.notify(clean(refusal), markup=False)
        self.sync()

    def action_close(self) -> None:
        self.dismiss(None)
