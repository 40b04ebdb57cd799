"""The actions on a recording that is played, or on the recording so far of a live run."""

from __future__ import annotations

from ktstr_tui.tui.action import Action

FILM_ACTIONS: tuple[Action, ...] = (
    Action("film.back", "shift+left", "film_seek(-5)", "Back", "Show the run five seconds earlier", "app"),
    Action("film.ahead", "shift+right", "film_seek(5)", "Ahead", "Show the run five seconds later", "app"),
    Action(
        "film.minute_back",
        "shift+up",
        "film_seek(-60)",
        "Minute back",
        "Show the run a minute earlier",
        "app",
    ),
    Action(
        "film.minute_ahead", "shift+down", "film_seek(60)", "Minute on", "Show the run a minute later", "app"
    ),
    Action(
        "film.event_back", "ctrl+left", "film_event(-1)", "Event back", "Pause, and go an event back", "app"
    ),
    Action("film.event_ahead", "ctrl+right", "film_event(1)", "Event on", "Pause, and play one event", "app"),
    Action(
        "film.previous",
        "left_parenthesis",
        "film_moment(-1)",
        "Previous moment",
        "Go to the alert, capture, hit, scheduler or step before",
        "app",
    ),
    Action(
        "film.next",
        "right_parenthesis",
        "film_moment(1)",
        "Next moment",
        "Go to the next alert, capture, hit, scheduler or step",
        "app",
    ),
    Action("film.faster", "ctrl+up", "film_speed(1)", "Faster", "Play twice as fast", "app"),
    Action("film.slower", "ctrl+down", "film_speed(-1)", "Slower", "Play half as fast", "app"),
    Action("film.time", "T", "film_time", "Time", "Type the time to show: 1:23.5, 83.5 s or -5 s", "app"),
    Action("film.now", "L", "film_now", "Now", "Return to now, or to the end of a recording", "app"),
)
