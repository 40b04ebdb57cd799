"""Events of a stop, kept until the guest runs again."""

from __future__ import annotations

from ktstr_tui.model.events import Event


class StopEvents:
    """Keeps events in order. Bounded by what one stop causes: it is emptied at the end of each."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def add(self, event: Event) -> None:
        """Keep an event until the guest runs again."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Return the events and keep none."""
        events, self._events = self._events, []
        return events
