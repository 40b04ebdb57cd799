"""The actions of the timeline."""

from __future__ import annotations

from ktstr_tui.tui.action import Action

TIMELINE_ACTIONS: tuple[Action, ...] = (
    Action("timeline.close", "escape,q", "close", "Back", "Back to the screen before", "timeline", footer=2),
    Action(
        "timeline.in", "z", "zoom(1)", "Zoom in", "Show less time, around the cursor", "timeline", footer=4
    ),
    Action(
        "timeline.out", "Z", "zoom(-1)", "Zoom out", "Show more time, around the cursor", "timeline", footer=4
    ),
    Action("timeline.later", "greater_than_sign", "pan(1)", "Later", "Half a screen later", "timeline"),
    Action("timeline.earlier", "less_than_sign", "pan(-1)", "Earlier", "Half a screen earlier", "timeline"),
    Action(
        "timeline.next",
        "n",
        "event(1)",
        "Next event",
        "To the next event of the task of this lane",
        "timeline",
        footer=5,
    ),
    Action(
        "timeline.previous",
        "N",
        "event(-1)",
        "Previous event",
        "To the event before of the task of this lane",
        "timeline",
    ),
    Action(
        "timeline.next_mark", "semicolon", "mark(1)", "Next mark", "To the next mark", "timeline", footer=6
    ),
    Action("timeline.previous_mark", "colon", "mark(-1)", "Previous mark", "To the mark before", "timeline"),
    Action(
        "timeline.remove",
        "x",
        "remove",
        "Remove lane",
        "Remove the lane of the task under the cursor",
        "timeline",
    ),
)
