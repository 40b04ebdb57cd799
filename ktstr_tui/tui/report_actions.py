"""The actions of a report, and those of every pane."""

from __future__ import annotations

from ktstr_tui.tui.action import Action

REPORT_ACTIONS: tuple[Action, ...] = (
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
