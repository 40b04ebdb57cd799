"""The headline of the screen: a badge, its role and a sentence, from what the run is like and how it is seen."""

from __future__ import annotations

from dataclasses import dataclass

from ktstr_tui.model.condition import condition_of
from ktstr_tui.model.state import AlertState
from ktstr_tui.text.condition import badge_of, sentence_of
from ktstr_tui.text.control_lines import control_sentence
from ktstr_tui.text.lines import clean
from ktstr_tui.text.progress import held_progress
from ktstr_tui.tui.view import View


@dataclass(frozen=True, slots=True)
class Headline:
    """What the verdict bar says first."""

    badge: str
    role: str
    """``ok``, ``warn``, ``bad`` or ``info``."""
    sentence: str
    alert: AlertState | None = None
    """The alert whose text the sentence is."""
    before: str = ""
    """What was last known of the run, when it is no longer seen."""


def headline_of(view: View) -> Headline:
    """Return the headline. Only a run that is seen and is well, or has ended well, has the role ``ok``."""
    if view.connection == "still":
        return Headline("■ SNAPSHOT", "info", view.connection_reason)
    known = _of_run(view)
    before = f"last known: {known.badge} {known.sentence}" if view.state.seq else ""
    if view.connection == "gone":
        why = view.connection_reason or "no response"
        sentence = f"{why[:1].upper()}{why[1:]}. Showing the last known state."
        return Headline("× BACKEND GONE", "bad", sentence, before=before)
    if view.connection == "connecting":
        sentence = view.connection_reason or "No answer from the run yet."
        return Headline("○ CONNECTING", "warn", sentence, before=before)
    if view.connection == "ended" and view.state.ended is None:
        sentence = view.connection_reason or "The recording ends here, before the end of its run."
        return Headline("? RECORDING ENDS", "info", sentence, before=before)
    return known


def _of_run(view: View) -> Headline:
    state = view.state
    condition = condition_of(state)
    badge, role = badge_of(state, condition)
    alert = view.alert()
    # A run that has ended is its outcome; of its alerts only the ejection's says more about that.
    if alert is not None and state.ended is not None and (condition, alert.kind) != ("ejected", "ejected"):
        alert = None
    going = held_progress(state, view.seen_s) if not view.past else ""
    if going:
        return Headline(
            "« GOING BACK", "info", f"Running again to the instant at which it is frozen: {going}."
        )
    if alert is not None and condition != "rejected":
        return Headline(badge, role, clean(alert.text), alert)
    held = control_sentence(state.control, state.mono_ns) if state.ended is None else ""
    if held and role == "ok":
        return Headline(badge, "warn", clean(held))
    return Headline(badge, role, sentence_of(state, condition))
