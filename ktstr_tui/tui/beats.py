"""The heartbeat pane: who beats, how long ago, and who fell silent.

The bar of a sender is the age of its last beat as a share of the threshold: short bars are alive, a full one has
stalled. Stalled senders come first. A host's sender is marked, because its pid is not one of the guest's.
"""

from __future__ import annotations

from collections.abc import Hashable

from ktstr_tui.model.beats import BeatRow
from ktstr_tui.model.state import AlertState
from ktstr_tui.text import words
from ktstr_tui.text.lines import Align, Line, clean, columns, fit, gauge, text_of
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View

BAR_WIDTH = 8
STATUS_ROLES = {"ok": "ok", "degraded": "warn", "critical": "bad"}
_WIDE = 44
"""From this width on there is room for what was missed and who vouches."""


class BeatsPane(LinePane):
    """Heartbeats of the guest's tasks, and of programs on the host."""

    label = "heartbeats"
    tab = "beats"
    number = "8"
    row_word = "sender"
    opens = True

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(id)
        self._beats: tuple[BeatRow, ...] = ()
        self._threshold_ms = 0.0

    def key(self, view: View) -> Hashable:
        return view.state.beats.mono_ns, view.state.beats.stalls, len(view.state.beats.rows)

    def load(self, view: View, width: int) -> int:
        self._threshold_ms = view.state.beats.threshold_ms
        self._beats = tuple(it for it in view.state.beats.rows if self.keeps(text_of(self._line(it, 0))))
        return len(self._beats)

    def empty(self, view: View) -> str:
        beats = view.state.beats
        if view.connection == "still":
            return "None in a snapshot: heartbeats were sent to the run."
        if view.over:
            return "No heartbeats came." if not beats.mono_ns else "No senders are left."
        if not beats.mono_ns:
            return "No heartbeats yet. Scenario workers send them; programs on the host can, too."
        return "No active heartbeats."

    def caption(self, view: View) -> str:
        beats = view.state.beats
        stalled = sum(row.stalled for row in beats.rows)
        hidden = beats.tracked - len(beats.rows)
        parts = ["last known"] if view.past and beats.rows else []
        parts += [f"{stalled} stalled"] if stalled else []
        parts += [f"{beats.refused} refused"] if beats.refused else []
        parts += [f"{hidden} more"] if hidden > 0 else []
        return ", ".join(parts)

    def heading(self, width: int) -> Line | None:
        if not self._beats:
            return None
        names: list[tuple[str, int, Align]] = [
            ("sender", self._name_width(width), "left"),
            ("age", BAR_WIDTH, "left"),
            ("", 7, "right"),
        ]
        if width >= _WIDE:
            names += [("missed", 6, "right"), ("vouched", 10, "left")]
        return columns((name, "head", width, align) for name, width, align in names)

    def row(self, index: int, width: int) -> Line:
        return self._line(self._beats[index], width)

    def _line(self, row: BeatRow, width: int) -> Line:
        share = row.age_ms / self._threshold_ms if self._threshold_ms else 0.0
        role = "bad" if row.stalled else STATUS_ROLES.get(row.status, "warn")
        filled, rest = gauge(share, BAR_WIDTH)
        mark = "■" if row.stalled else "†" if row.terminal else "●" if row.status == "ok" else "▲"
        name = words.task(row.comm, row.pid) if row.comm else f"[{row.pid}]"
        place = "" if row.domain == "guest" else f" {row.domain}"
        line: Line = [
            (f"{mark} ", role),
            (fit(f"{clean(name)}{place}", self._name_width(width) - 2), "strong" if row.stalled else ""),
            (" ", ""),
            (filled, role),
            ("░" * len(rest), "track"),
            (f" {words.milliseconds(row.age_ms):>7}", role if row.stalled else ""),
        ]
        if width >= _WIDE or not width:
            line += [(f" {words.number(row.missed):>6}", "warn" if row.missed else "dim")]
            line += [(f" {fit(row.origin, 10)}", "dim")]
        return self.tone(line)

    def alert_of_chosen(self, view: View) -> AlertState | None:
        """The alert of the sender under the cursor, while it is silent."""
        if self.cursor >= len(self._beats):
            return None
        row = self._beats[self.cursor]
        return view.state.alerts.get(f"beat-{row.domain}-{row.pid}")

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        alert = self.alert_of_chosen(view)
        if alert is not None and (alert.capture or alert.cpu is not None):
            found["row.open"] = "Go to alert"
        return found

    def _name_width(self, width: int) -> int:
        rest = BAR_WIDTH + 9 + (18 if width >= _WIDE else 0)
        return max(10, min(26, width - rest)) if width else 26
