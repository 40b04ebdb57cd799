"""The registry of actions: what can be done, under which id and on which keys.

Every binding of the program is made from this table, and so are the help page and the command palette; a key
that is not here does not exist. Ids are stable: they are what a user's key map names.
"""

from __future__ import annotations

from textual.binding import Binding, BindingType

from ktstr_tui.tui.action import Action, Place
from ktstr_tui.tui.film_actions import FILM_ACTIONS
from ktstr_tui.tui.report_actions import REPORT_ACTIONS
from ktstr_tui.tui.timeline_actions import TIMELINE_ACTIONS

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
        "run.back",
        "B",
        "go_back",
        "Go back",
        "Run it again to just before the chosen capture, hit, line or alert; needs a run with a seed",
        "app",
    ),
    Action(
        "run.prompt",
        "d",
        "prompt",
        "drgn",
        "Open drgn's prompt on the guest's memory, or on that of the capture that is open; ctrl+d returns",
        "app",
        footer=8,
        when="offered",
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
        "Show only lines that match a regular expression, or the others (!)",
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
    Action(
        "view.timeline",
        "0",
        "timeline",
        "Timeline",
        "Show who had each CPU when: of the run, or of the capture that is open",
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
    Action("panel.tasks", "9", "panel('tasks')", "Tasks", "Go to the list of tasks", "main"),
    Action(
        "tasks.sort",
        "s",
        "sort",
        "Sort",
        "Sort the list of tasks by the next column",
        "main",
        footer=6,
        when="offered",
    ),
    Action(
        "tasks.reverse",
        "S",
        "reverse",
        "Reverse",
        "Reverse the order of the list of tasks",
        "main",
        footer=9,
        when="offered",
    ),
    Action("panel.next", "tab", "next_panel(1)", "Next panel", "Go to the next panel", "main"),
    Action(
        "panel.previous", "shift+tab", "next_panel(-1)", "Previous panel", "Go to the previous panel", "main"
    ),
    *FILM_ACTIONS,
    *TIMELINE_ACTIONS,
    *REPORT_ACTIONS,
)

GROUP_TITLES = {
    "run": "The run",
    "view": "The view",
    "alert": "Alerts",
    "capture": "Captures",
    "watch": "Watchpoints",
    "tasks": "Tasks",
    "panel": "Panels",
    "film": "A recording, or the run so far",
    "timeline": "The timeline",
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
