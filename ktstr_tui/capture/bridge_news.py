"""What happens on the snapshot bridge, for people: the first of each kind in words, all of them in numbers.

The bridge forgets on purpose: it keeps the newest 64 reports and the latest of each tag. The files of the reports that
it lets go stay, so nothing is lost, but whoever counts captures at the end has to know why some are not listed. A guest
may bring this about as often as it may ask for captures, so only the first of each kind becomes a line of the log. An
invariant that does not hold is our defect, and always reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ktstr_tui.capture.snapshots import (
    BridgeEvent,
    CapInvariantViolation,
    CaptureUnavailable,
    DrainOrderingInvariantViolation,
    EventLogTruncated,
    Eviction,
    Overwrite,
)
from ktstr_tui.model.events import Event, Logged, Severity

_PLAIN: dict[type[BridgeEvent], str] = {
    Eviction: "captures-evicted",
    Overwrite: "captures-replaced",
    CaptureUnavailable: "scenario-captures-failed",
}


class BridgeNews:
    """Counts the events of one bridge and reports those that people should know of.

    Args:
        emit: Takes events.
    """

    def __init__(self, emit: Callable[[Event], object]) -> None:
        self._emit = emit
        self._counts: Counter[str] = Counter()

    def tell(self, event: BridgeEvent) -> None:
        """Take one event, as it happens."""
        what = _PLAIN.get(type(event), "defects")
        self._counts[what] += 1
        if what == "defects" or self._counts[what] == 1:
            severity, text = _in_words(event)
            self._emit(Logged(severity=severity, source="bridge", text=text))

    def drops(self) -> dict[str, int]:
        """Return what happened to captures on the bridge, by kind."""
        return dict(self._counts)


def _in_words(event: BridgeEvent) -> tuple[Severity, str]:
    match event:
        case Eviction():
            text = (
                f"{event.evicted_tag} was dropped for {event.new_tag}; its file is kept "
                f"(at most {event.cap} captures are held)"
            )
            return "info", text
        case Overwrite():
            return "info", f"capture {event.tag} replaced an earlier one under the same tag; its file is kept"
        case CaptureUnavailable():
            return "warning", f"capture {event.tag}, requested by the scenario, could not be taken"
        case DrainOrderingInvariantViolation():
            return (
                "error",
                f"bug in ktstr-tui: capture {event.tag} was missing from the capture order ({event.drain_variant})",
            )
        case CapInvariantViolation():
            return (
                "error",
                f"bug in ktstr-tui: {event.reports_len} captures, {event.cap} allowed, and no order: cleared",
            )
        case EventLogTruncated():
            return "warning", f"{event.dropped_count} bridge events were lost"
