"""The registry of actions: what can be done, under which id and on which keys.

Every binding of the program is made from this table, and so are the help page and the command palette; a key
that is not here does not exist. Ids are stable: they are what a user's key map names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from textual.binding import Binding, BindingType

Place: TypeAlias = Literal["app", "main", "report", "pane"]
"""Where a key is heard: anywhere, on the main screen, on a report, in a focused pane."""
When: TypeAlias = Literal["always", "offered"]
"""When a key is in the footer: always, or while the focused pane offers it for the row under the cursor."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing the user can do."""

    id: str
    keys: str
    """Comma-separated keys in Textual's names."""
    run: str
    """The Textual action, with its arguments."""
    label: str
    """Two words at most, for the footer."""
    about: str
    """A sentence, for help, palette and tooltip."""
    place: Place
    footer: int = 0
    """Rank in the footer, where the highest go first when there is no room; 0 is never there."""
    when: When = "always"
    asks: bool = False
    """The run is asked to do it, and refuses it to a viewer without control."""

    @property
    def group(self) -> str:
        """The part of the id before the dot; heads a section of the help page."""
        return self.id.partition(".")[0]


ACTIONS: tuple[Action, ...] = (
    Action(
        "view.pause",
        "space",
        "pause",
        "Pause",
        "Pause the display; the run continues and nothing is lost",
        "app",
        footer=6,
    ),
    Action(
        "run.capture",
        "c",
        "capture",
        "Capture",
        "Stop the guest for an instant and capture its whole scheduler state",
        "app",
        footer=4,
        asks=True,
    ),
    Action("run.snapshot", "M", "snapshot", "Snapshot", "Capture with the guest's memory", "app", asks=True),
    Action("run.freeze", "f", "freeze", "Freeze", "Freeze or thaw the guest", "app", footer=5, asks=True),
    Action(
        "run.rebuild",
        "r",
        "rebuild",
        "Build",
        "Build the scheduler and load it into the running guest",
        "app",
        footer=3,
        when="offered",
        asks=True,
    ),
    Action(
        "run.build_log",
        "b",
        "build_log",
        "Build log",
        "Show what the newest build printed, or why the scheduler was refused",
        "app",
        footer=7,
        when="offered",
    ),
    Action(
        "run.restart",
        "R",
        "restart",
        "Restart",
        "Boot the guest again; layout, filters, watches and captures stay",
        "app",
        asks=True,
    ),
    Action(
        "run.hold",
        "H",
        "hold",
        "Resume automation",
        "Hold what the run does by itself, and ordinary commands, for ten minutes; or end the hold",
        "app",
        footer=3,
        when="offered",
        asks=True,
    ),
    Action(
        "view.filter",
        "slash",
        "filter",
        "Filter",
        "Show only lines that contain a text",
        "app",
        footer=7,
        when="offered",
    ),
    Action(
        "run.info",
        "i",
        "info",
        "Info",
        "Show what runs where: kernel, accelerator and why, paths, how the run ended",
        "app",
        footer=8,
    ),
    Action("help.show", "question_mark,f1", "help", "Help", "Show the keys that work here", "app", footer=2),
    Action(
        "app.quit",
        "ctrl+q",
        "quit",
        "Quit",
        "Quit; if this screen started the run, ask whether to end it",
        "app",
        footer=1,
    ),
    Action("app.interrupt", "ctrl+c", "help_quit", "Interrupt", "Show which key quits", "app"),
    Action("alert.next", "right_curly_bracket", "alert(1)", "Next alert", "Show the next alert", "app"),
    Action(
        "alert.previous",
        "left_curly_bracket",
        "alert(-1)",
        "Previous alert",
        "Show the previous alert",
        "app",
    ),
    Action(
        "alert.open",
        "a",
        "open_alert",
        "Go to alert",
        "Open the capture of the shown alert, or go to its CPU",
        "app",
    ),
    Action(
        "capture.older",
        "left_square_bracket",
        "step_capture(-1)",
        "Older",
        "Select or open the previous capture",
        "app",
    ),
    Action(
        "capture.newer",
        "right_square_bracket",
        "step_capture(1)",
        "Newer",
        "Select or open the next capture",
        "app",
    ),
    Action(
        "view.faster",
        "plus,equals_sign",
        "paint_rate(1)",
        "Refresh faster",
        "Refresh the screen more often (sampling rate unchanged)",
        "app",
    ),
    Action(
        "view.slower",
        "minus",
        "paint_rate(-1)",
        "Refresh slower",
        "Refresh the screen less often, for slow terminals",
        "app",
    ),
    Action("view.theme", "t", "next_theme", "Theme", "Take the next theme; the choice is kept", "app"),
    Action(
        "row.copy",
        "y",
        "copy_row",
        "Copy row",
        "Copy the row under the cursor to the clipboard and to a file",
        "app",
        footer=10,
        when="offered",
    ),
    Action(
        "capture.export",
        "e",
        "export",
        "Export",
        "Write the selected capture as JSON and copy the file's path",
        "app",
        footer=9,
        when="offered",
    ),
    Action(
        "watch.add",
        "w",
        "watch",
        "Watch",
        "Watch writes to a kernel variable, or calls of a function, and show by whom",
        "app",
        footer=5,
        when="offered",
        asks=True,
    ),
    Action(
        "watch.remove",
        "delete,backspace",
        "app.remove_watch",
        "Remove watch",
        "Remove the watch under the cursor",
        "main",
        footer=4,
        when="offered",
        asks=True,
    ),
    Action(
        "watch.resume",
        "u",
        "app.resume_watch",
        "Resume watch",
        "Resume the paused watch under the cursor",
        "main",
        footer=4,
        when="offered",
        asks=True,
    ),
    Action("panel.cpus", "1", "panel('cpus')", "vCPUs", "Go to the vCPU table", "main"),
    Action("panel.scheduler", "2", "panel('scheduler')", "Scheduler", "Go to the scheduler panel", "main"),
    Action("panel.captures", "3", "panel('captures')", "Captures", "Go to the list of captures", "main"),
    Action("panel.log", "4", "panel('log')", "Log", "Go to the event log", "main"),
    Action("panel.output", "5", "panel('output')", "Output", "Go to the guest's output", "main"),
    Action("panel.wire", "6", "panel('wire')", "Wire", "Go to frame counters and drops", "main"),
    Action("panel.watch", "7", "panel('watch')", "Watch", "Go to the watchpoints", "main"),
    Action("panel.beats", "8", "panel('beats')", "Beats", "Go to the heartbeats", "main"),
    Action("panel.next", "tab", "next_panel(1)", "Next panel", "Go to the next panel", "main"),
    Action(
        "panel.previous", "shift+tab", "next_panel(-1)", "Previous panel", "Go to the previous panel", "main"
    ),
    Action("report.close", "escape,q", "close", "Back", "Back to the live screen", "report", footer=2),
    Action(
        "report.overview",
        "1",
        "section('overview')",
        "Overview",
        "The stalled task, scheduler, exit info and pause",
        "report",
    ),
    Action(
        "report.tasks",
        "2",
        "section('tasks')",
        "Tasks",
        "The runnable tasks, longest wait first",
        "report",
    ),
    Action(
        "report.vcpus", "3", "section('vcpus')", "vCPUs", "Registers and kernel stack of every vCPU", "report"
    ),
    Action(
        "report.runqueues", "4", "section('runqueues')", "Runqueues", "The runqueue of every CPU", "report"
    ),
    Action(
        "report.dsqs", "5", "section('dsqs')", "DSQs", "The dispatch queues and the tasks in them", "report"
    ),
    Action("report.maps", "6", "section('maps')", "Maps", "The BPF maps as a tree", "report"),
    Action("report.dmesg", "7", "section('dmesg')", "dmesg", "The end of the kernel's log", "report"),
    Action(
        "report.changes",
        "8",
        "section('changes')",
        "Changes",
        "What changed since the early capture, or the capture before",
        "report",
    ),
    Action(
        "report.history",
        "9",
        "section('history')",
        "Before",
        "The last seconds before the stop: who ran, and what happened to the task that waits",
        "report",
    ),
    Action(
        "report.next",
        "tab",
        "next_section(1)",
        "Next section",
        "Go to the next section of the report",
        "report",
    ),
    Action(
        "report.previous",
        "shift+tab",
        "next_section(-1)",
        "Previous section",
        "Go to the previous section of the report",
        "report",
    ),
    Action(
        "report.sort",
        "s",
        "sort",
        "Sort",
        "Sort the tasks by the next column",
        "report",
        footer=6,
        when="offered",
    ),
    Action(
        "report.reverse",
        "S",
        "reverse",
        "Reverse",
        "Reverse the order of the tasks",
        "report",
        footer=9,
        when="offered",
    ),
    Action("move.down", "down,j", "cursor(1)", "Down", "Down a row", "pane"),
    Action("move.up", "up,k", "cursor(-1)", "Up", "Up a row", "pane"),
    Action("move.page_down", "pagedown,ctrl+f", "page(1)", "Page down", "Down a page", "pane"),
    Action("move.page_up", "pageup,ctrl+b", "page(-1)", "Page up", "Up a page", "pane"),
    Action("move.top", "home,g", "edge('top')", "Top", "To the first row", "pane"),
    Action(
        "move.end", "end,G", "edge('end')", "End", "To the last row; logs then follow what is new", "pane"
    ),
    Action("move.left", "left,h", "sideways(-8)", "Left", "Scroll left", "pane"),
    Action("move.right", "right,l", "sideways(8)", "Right", "Scroll right", "pane"),
    Action(
        "row.open", "enter", "open", "Open", "Open the row under the cursor", "pane", footer=3, when="offered"
    ),
)

GROUP_TITLES = {
    "run": "The run",
    "view": "The view",
    "alert": "Alerts",
    "capture": "Captures",
    "watch": "Watchpoints",
    "panel": "Panels",
    "report": "The report",
    "row": "Rows",
    "move": "Moving",
    "help": "Help",
    "app": "Program",
}
"""Headings of the help page, in order."""


def bindings(place: Place) -> list[BindingType]:
    """The bindings that belong to one place.

    Binding ids must be unique for a key map to name them, so alternative keys share one id and one binding.
    """
    return [
        Binding(it.keys, it.run, it.label, show=it.footer > 0, tooltip=it.about, id=it.id)
        for it in ACTIONS
        if it.place == place
    ]


def window_bindings() -> list[BindingType]:
    """The keys that a window keeps from the app: a modal screen hides the app's own bindings from Textual."""
    return [
        Binding(it.keys, f"app.{it.run}", it.label, show=False, id=it.id)
        for it in map(action, ("app.quit", "app.interrupt"))
    ]


def action(id_: str) -> Action:
    """The action of an id.

    Raises:
        KeyError: There is none.
    """
    return next(it for it in ACTIONS if it.id == id_) if id_ in _IDS else _missing(id_)


def _missing(id_: str) -> Action:
    raise KeyError(id_)


_IDS = frozenset(it.id for it in ACTIONS)
