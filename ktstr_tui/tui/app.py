"""The app: it wires the source, the paint clock, the screens and the actions, and decides nothing itself.

One worker follows the source, which folds events into the state; nothing is posted per event. One clock paints:
it compares what the panes depend on with what they show, and only visible panes whose data changed are drawn.
So the screen's cost depends on the paint rate and on what changed, not on how many events there were.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.filter import Monochrome
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from ktstr_tui.model.commands import (
    Capture,
    Freeze,
    Rebuild,
    RemoveWatch,
    Request,
    RestartGuest,
    ResumeAutomation,
    ResumeWatch,
    Thaw,
)
from ktstr_tui.model.state import AlertState, CaptureState
from ktstr_tui.model.text import counted
from ktstr_tui.text.cause import headline
from ktstr_tui.text.edit_lines import log_page
from ktstr_tui.text.lines import clean
from ktstr_tui.text.replies import done_words
from ktstr_tui.tui.actions import bindings
from ktstr_tui.tui.acts import Act, Acts
from ktstr_tui.tui.bars import VerdictBar
from ktstr_tui.tui.beats import BeatsPane
from ktstr_tui.tui.build_page import BuildPage
from ktstr_tui.tui.dialogs import FilterDialog, HelpPage, InfoPage, LeaveDialog
from ktstr_tui.tui.drill_window import DrillWindow
from ktstr_tui.tui.film_keys import FilmKeys
from ktstr_tui.tui.hold_dialog import HoldDialog
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.lists import CapturesPane
from ktstr_tui.tui.look import Look
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.new_captures import NewCaptures
from ktstr_tui.tui.palette import PaletteApp
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.report_screen import ReportScreen
from ktstr_tui.tui.run_screen import RunScreen
from ktstr_tui.tui.timeline_screen import TimelineScreen
from ktstr_tui.tui.view import View
from ktstr_tui.tui.watch_dialog import WatchDialog
from ktstr_tui.tui.watch_pane import HitPage, WatchPane

if TYPE_CHECKING:
    from ktstr_tui.link.source import Source
    from ktstr_tui.model.events import Event

PAINT_RATES_HZ = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""What ``+`` and ``-`` choose from."""


class KtstrApp(FilmKeys, PaletteApp, inherit_bindings=False):
    """The screen of one run.

    The exit value says what becomes of the run: ``end`` or ``leave`` (the owner's choice) or ``detach``.

    Args:
        source: The run: a live viewer or a replay.
        owner: Whether leaving must decide about the run.
        paint_hz: Rate of the paint clock; 0 leaves painting to whoever calls `paint`.
        explain: Whether to explain the steps of a scenario, the guest being frozen until a key is pressed.
        look: Theme and keys as the user wants them.
    """

    TITLE = "ktstr-tui"
    CSS_PATH = "ktstr.tcss"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(
        self,
        source: Source,
        *,
        owner: bool = False,
        paint_hz: float = 10.0,
        explain: bool = False,
        look: Look | None = None,
    ) -> None:
        super().__init__(View(source), look or Look())
        self.view.owner = owner
        self.view.paint_hz = paint_hz
        self._clock: Timer | None = None
        self._covered_ticks = 0
        self._new_captures = NewCaptures()
        self._acts = Acts(self.view) if explain else None
        if os.environ.get("TERM") == "dumb" and not self.no_color:
            self.no_color = True
            self._filters.append(Monochrome())
            # Rich takes a dumb terminal for one of 80x25, which would fight with the size that the driver reports.
            self.console._environ = {**os.environ, "TERM": "vt100"}

    def get_default_screen(self) -> Screen[None]:
        return MainScreen(self.view)

    def on_mount(self) -> None:
        self._follow_source()
        self._set_clock()

    # The feed and the paint clock.

    @work(exclusive=True, group="feed", exit_on_error=False)
    async def _follow_source(self) -> None:
        await self.view.source.run(self._on_events)

    def _on_events(self, batch: list[Event]) -> None:
        """The source has folded a batch; the paint clock will look."""

    @on(Worker.StateChanged)
    def _feed_ended(self, event: Worker.StateChanged) -> None:
        if event.worker.group == "feed" and event.state == WorkerState.ERROR:
            self.view.failure = f"{type(event.worker.error).__name__}: {event.worker.error}"

    def _set_clock(self) -> None:
        if self._clock is not None:
            self._clock.stop()
            self._clock = None
        if self.view.paint_hz:
            self._clock = self.set_interval(1 / self.view.paint_hz, self._tick)

    def _tick(self) -> None:
        # When anything below a window changes, all of it is dimmed again: once a second is enough.
        self._covered_ticks = 0 if isinstance(self.screen, RunScreen) else self._covered_ticks + 1
        self.paint(below=self._covered_ticks % max(1, round(self.view.paint_hz)) == 0)

    def paint(self, *, below: bool = True) -> None:
        """Show what has changed since the last time, also on the screen that a window covers if ``below``."""
        screen = next((it for it in reversed(self.screen_stack) if isinstance(it, RunScreen)), None)
        if screen is not None and (below or screen is self.screen):
            with self.batch_update():
                screen.sync()
        if isinstance(self.screen, DrillWindow):
            self.screen.sync()
        self._announce()
        if self._acts is not None and (act := self._acts.take()) is not None:
            self._explain(self._acts, act)

    @work(group="acts", exclusive=False, exit_on_error=False)
    async def _explain(self, acts: Acts, act: Act) -> None:
        await acts.play(act, self.push_screen_wait)

    def _announce(self) -> None:
        for report in self._new_captures.take(self.view.source.state):
            severity = "error" if report.is_placeholder else "information"
            self.say(f"{report.tag}: {headline(report)}", severity, title="Captured")

    # Actions on the run.

    def action_capture(self) -> None:
        self._ask("capture", Capture())

    def action_snapshot(self) -> None:
        self._ask("capture with memory", Capture(memory=True))

    def action_freeze(self) -> None:
        frozen = self.view.source.state.frozen is not None
        self._ask("thaw" if frozen else "freeze", Thaw() if frozen else Freeze())

    def action_rebuild(self) -> None:
        info = self.view.source.state.info
        if info is not None and not (info.build or info.watched_files):
            self.say("This run builds nothing: start it with --build or --watch-file.", "warning")
            return
        self._ask("build", Rebuild())

    def action_restart(self) -> None:
        self._ask("restart the guest", RestartGuest())

    def action_hold(self) -> None:
        refusal = self.view.refusal("hold automation")
        if refusal:
            self.say(refusal, "warning")
        elif self.view.source.state.control.hold is not None:
            self._command(ResumeAutomation())
        elif isinstance(self.screen, RunScreen):
            self.push_screen(HoldDialog(), self._command_if_asked)

    def action_build_log(self) -> None:
        page = log_page(self.view.state)
        if page is None:
            self.say("Nothing was built, and no scheduler was refused.")
        elif isinstance(self.screen, RunScreen):
            self.push_screen(BuildPage(*page))

    def _ask(self, what: str, request: Request) -> None:
        refusal = self.view.refusal(what)
        if refusal:
            self.say(refusal, "warning")
            return
        self._command(request)

    @work(group="command", exit_on_error=False)
    async def _command(self, request: Request) -> None:
        reply = await self.view.source.command(request)
        if reply.error is not None:
            hint = f" {reply.error.hint}" if reply.error.hint else ""
            self.say(f"{reply.error.message}{hint}", "error", title=f"{request.name} failed")
        elif done := done_words(request, reply):
            self.say(done)

    def action_watch(self) -> None:
        refusal = self.view.refusal("watch")
        if refusal:
            self.say(refusal, "warning")
        elif isinstance(self.screen, RunScreen):
            self.push_screen(WatchDialog(), self._command_if_asked)

    def _command_if_asked(self, asked: Request | None) -> None:
        if asked is not None:
            self._command(asked)

    def action_remove_watch(self) -> None:
        if slot := self._chosen_watch():
            self._command(RemoveWatch(slot=slot))

    def action_resume_watch(self) -> None:
        if slot := self._chosen_watch():
            self._command(ResumeWatch(slot=slot))

    def _chosen_watch(self) -> int | None:
        refusal = self.view.refusal("watch")
        screen = self.screen
        if refusal or not isinstance(screen, MainScreen):
            self.say(refusal or "This key works on the main screen.", "warning")
        elif self.focused is not screen.watches:
            screen.show_panel("watch")
            self.say("Choose a watch with the cursor, then press the key again.")
        elif slot := screen.watches.slot():
            return slot
        else:
            self.say("Slot 0 is reserved by ktstr-tui." if slot == 0 else "No watch is set: w adds one.")
        return None

    @on(LinePane.RowOpened, "#watch")
    def _watch_opened(self, event: LinePane.RowOpened) -> None:
        hit = event.pane.hit() if isinstance(event.pane, WatchPane) else None
        if hit is not None:
            self.push_screen(HitPage(hit, self.view.state.started_mono_ns))
        else:
            self.say("No hits yet.")

    async def action_quit(self) -> None:
        view = self.view
        over = view.source.state.ended is not None or view.connection in ("gone", "ended")
        if not view.owner:
            self.exit(Leaving.DETACH)
        elif over:
            self.exit(Leaving.END)
        elif isinstance(self.screen, LeaveDialog):
            self.screen.dismiss(Leaving.LEAVE)
        else:
            info = view.source.state.info
            self.push_screen(LeaveDialog(clean(info.name) if info else "?"), self._leave)

    async def _leave(self, answer: str | None) -> None:
        if answer in (Leaving.END, Leaving.LEAVE):
            if self._acts is not None:
                await self._acts.stop()
            self.exit(Leaving(answer))

    # Actions on the view.

    def action_paint_rate(self, step: int) -> None:
        rates = PAINT_RATES_HZ
        nearest = min(range(len(rates)), key=lambda index: abs(rates[index] - self.view.paint_hz))
        self.view.paint_hz = rates[max(0, min(len(rates) - 1, nearest + step))]
        self._set_clock()
        self.say(
            f"Refreshing {counted(round(self.view.paint_hz), 'time')} a second (sampling rate unchanged).",
            about="paint rate",
        )

    def action_help(self) -> None:
        if isinstance(self.screen, RunScreen):
            self.push_screen(HelpPage(self.screen, self.view.refusal("control the run")))

    def action_info(self) -> None:
        if isinstance(self.screen, RunScreen):
            self.push_screen(InfoPage(self.view))

    def action_alert(self, step: int) -> None:
        self.view.step_alert(step)
        self.paint()

    @on(VerdictBar.Clicked)
    def action_open_alert(self) -> None:
        alert = self.view.alert()
        if alert is None and self.view.state.lifecycle == "SchedulerNotAttached":
            self.action_build_log()
            return
        if alert is None:
            self.say("No active alerts.")
            return
        self._open_what_it_is_about(alert)

    def _open_what_it_is_about(self, alert: AlertState) -> None:
        capture = next((it for it in self.view.captures() if it.report.tag == alert.capture), None)
        if alert.kind == "edit":
            self.action_build_log()
        elif capture is not None:
            self.open_capture(capture)
        elif alert.cpu is not None and isinstance(self.screen, MainScreen):
            self.screen.show_cpu(alert.cpu)

    @on(LinePane.RowOpened, "#beats")
    def _sender_opened(self, event: LinePane.RowOpened) -> None:
        alert = event.pane.alert_of_chosen(self.view) if isinstance(event.pane, BeatsPane) else None
        if alert is None:
            self.say("This sender is healthy.")
        else:
            self._open_what_it_is_about(alert)

    def action_timeline(self) -> None:
        screen = self.screen
        if isinstance(screen, MainScreen):
            task = screen.task_list.chosen() if self.focused is screen.task_list else None
            self.push_screen(TimelineScreen(self.view, () if task is None else (task.pid,)))
        elif isinstance(screen, ReportScreen):
            report = screen.capture.report
            if report.history is None or report.history.block is None:
                why = report.unavailable.get("history", "it was taken without one")
                self.say(f"This capture has no timeline: {clean(why)}.", "warning")
                return
            wait = report.history.wait
            self.push_screen(TimelineScreen(self.view, () if wait is None else (wait.pid,), report))
        elif isinstance(screen, TimelineScreen):
            screen.action_close()

    # Captures and rows.

    def open_capture(self, capture: CaptureState) -> None:
        """Open the report of a capture, or change to it when a report is open."""
        if isinstance(self.screen, ReportScreen):
            self.screen.show(capture)
        else:
            self.push_screen(ReportScreen(self.view, capture))

    @on(LinePane.RowOpened, "#captures")
    def _capture_opened(self, event: LinePane.RowOpened) -> None:
        if isinstance(event.pane, CapturesPane) and (capture := event.pane.chosen()) is not None:
            self.open_capture(capture)

    def action_step_capture(self, step: int) -> None:
        screen = self.screen
        if isinstance(screen, MainScreen):
            screen.show_panel("captures")
            screen.captures.move_to(screen.captures.cursor - step)
            return
        if not isinstance(screen, ReportScreen):
            self.say("This key works on the main screen and in a report.")
            return
        captures = self.view.state.captures
        index = next((i for i, it in enumerate(captures) if it.report.tag == screen.capture.report.tag), None)
        if index is None or not 0 <= index + step < len(captures):
            self.say("No older capture." if step < 0 else "No newer capture.")
            return
        screen.show(captures[index + step])

    def action_filter(self) -> None:
        if not isinstance(screen := self.screen, RunScreen):
            return
        pane = screen.filter_target()

        def apply(text: str) -> None:
            pane.filter = text
            pane.sync(self.view)

        if isinstance(screen, MainScreen):
            screen.show_panel(pane.id or "log")
        self.push_screen(FilterDialog(f"{pane.row_word}s", pane.filter, apply))
