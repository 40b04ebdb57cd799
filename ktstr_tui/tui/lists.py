"""The small panes: captures, the wire's counters and drops."""

from __future__ import annotations

from collections.abc import Hashable

from ktstr_tui.model.report import EXIT_KIND_STALL, kind_word, of_ejection
from ktstr_tui.model.state import CaptureState
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.control_lines import control_lines
from ktstr_tui.text.drops import drop_words
from ktstr_tui.text.lines import ABSENT, Align, Line, clean, columns, cut, fit, spread, text_of
from ktstr_tui.tui.pane import LinePane, Moment
from ktstr_tui.tui.view import View


def moment_of_capture(capture: CaptureState) -> Moment:
    """When a capture was taken."""
    return Moment(capture.report.mono_ns, f"the capture {clean(capture.report.tag)}")


class CapturesPane(LinePane):
    """Captures, the newest first."""

    label = "captures"
    number = "3"
    row_word = "capture"
    opens = True

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._captures: list[CaptureState] = []
        self._start_ns = 0

    def key(self, view: View) -> Hashable:
        captures = view.state.captures
        return len(captures), captures[-1].seq if captures else 0, view.state.seq == 0

    def load(self, view: View, width: int) -> int:
        chosen = self.chosen()
        self._start_ns = view.state.started_mono_ns
        self._captures = [it for it in view.captures() if self.keeps(text_of(self._line(it, 0)))]
        if chosen is not None:
            tags = [it.report.tag for it in self._captures]
            self.cursor = tags.index(chosen.report.tag) if chosen.report.tag in tags else 0
        return len(self._captures)

    def empty(self, view: View) -> str:
        if view.source.controllable and not view.refusal("capture"):
            return "No captures yet. c takes one. Ejections are captured automatically, at the write to exit_kind."
        if view.over:
            return "No captures were taken."
        return "No captures yet. Ejections are captured automatically, at the write to exit_kind."

    def caption(self, view: View) -> str:
        gone = view.state.forgotten.get("captures", 0)
        return counted(gone, "older entry", "older entries") + " dropped" if gone else ""

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        return {**found, "row.open": "Open", "capture.export": "Export"} if self.rows else found

    def chosen(self) -> CaptureState | None:
        """The capture under the cursor."""
        return self._captures[self.cursor] if self.cursor < len(self._captures) else None

    def moment(self) -> Moment | None:
        chosen = self.chosen()
        return None if chosen is None else moment_of_capture(chosen)

    def heading(self, width: int) -> Line | None:
        if not self._captures:
            return None
        names: list[tuple[str, int, Align]] = [
            ("tag", 14, "left"), ("exit_kind", 12, "left"), ("longest waiting", self._task_width(width), "left"),
            ("age", 6, "right"), ("dsq", 8, "left"), ("pause", 7, "right"),
        ]  # fmt: skip
        if self._has_room(width):
            names.append(("at", 8, "right"))
        return columns((name, "head", width, align) for name, width, align in names)

    def row(self, index: int, width: int) -> Line:
        return self._line(self._captures[index], width)

    def _line(self, capture: CaptureState, width: int) -> Line:
        report = capture.report
        at = f"+{max(0, report.mono_ns - self._start_ns) / 1e9:.1f}s"
        if report.is_placeholder:
            reason = clean(next(iter(report.unavailable.values()), "reason unknown"))
            text = f"failed: {reason}"
            return [
                (fit(report.tag, 14), "strong"),
                (" ", ""),
                (cut(text, max(20, width - 24)), "bad"),
                (f" {at:>8}", "dim"),
            ]
        error = of_ejection(report)
        kind = kind_word(report) if report.exit_kind else clean(report.trigger)
        stalled = report.stalled
        who = words.task(stalled.comm, stalled.pid) if stalled else "no runnable task"
        age = words.milliseconds(stalled.age_ms) if stalled else ABSENT
        dsq = clean(stalled.dsq) if stalled and stalled.dsq else ABSENT
        pause = words.microseconds(report.pause.total_us) if report.pause else ABSENT
        cells: list[tuple[str, str, int, Align]] = [
            (clean(report.tag), "strong", 14, "left"),
            (kind, "bad" if error else "dim", 12, "left"),
            (who, "" if stalled else "dim", self._task_width(width), "left"),
            (age, "bad" if stalled and report.exit_kind == EXIT_KIND_STALL else "", 6, "right"),
            (dsq, "", 8, "left"),
            (pause, "", 7, "right"),
        ]
        if self._has_room(width):
            cells.append((at, "dim", 8, "right"))
        return columns(cells)

    def _has_room(self, width: int) -> bool:
        return not width or width >= 76

    def _task_width(self, width: int) -> int:
        rest = width - (61 if self._has_room(width) else 52)
        return max(12, min(26, rest)) if width else 26


class WirePane(LinePane):
    """Frames of the guest's port, and everything that was dropped anywhere."""

    label = "wire"
    number = "6"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lines: list[Line] = []

    def key(self, view: View) -> Hashable:
        return view.state.seq, str(view.source.statistics())

    def load(self, view: View, width: int) -> int:
        self._lines = [it for it in wire_lines(view, width) if self.keeps(text_of(it))]
        return len(self._lines)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]

    def empty(self, view: View) -> str:
        if view.connection == "still":
            return "None in a snapshot: frames were sent to the run."
        return "No frames came from the guest." if view.over else "No frames from the guest yet."


def wire_lines(view: View, width: int) -> list[Line]:
    """Counters of the frames, drops by place and reason, and this viewer's own link."""
    state = view.state
    frames = state.frames
    control = _control(view, width)
    if not frames.received and not state.drops:
        return control
    lines = [
        spread(
            [("frames ", "head"), (str(frames.received), "strong")],
            [(words.size(frames.bytes), "dim")],
            width,
        )
    ]
    faults = {
        "crc_bad": frames.crc_bad, "unknown": frames.unknown, "oversized": frames.oversized,
        "resyncs": frames.resyncs, "skipped_bytes": frames.skipped_bytes,
    }  # fmt: skip
    bad: Line = [(f"{name} {count}  ", "warn") for name, count in faults.items() if count]
    lines.append(bad or [("no damaged, unknown or oversized frames", "dim")])
    drops = {**{f"port: {why}": n for why, n in frames.dropped.items()}, **state.drops}
    if any(drops.values()):
        lines += [
            spread([(cut(drop_words(place), width - 8), "warn")], [(str(count), "warn")], width)
            for place, count in drops.items()
            if count
        ]
    else:
        lines.append([("nothing dropped", "dim")])
    counts = sorted(frames.by_type.items(), key=lambda it: -it[1])
    return [*lines, *flow([(clean(name), str(count)) for name, count in counts], width), *control]


def _control(view: View, width: int) -> list[Line]:
    """What the control loop does, a line each."""
    pairs = list(control_lines(view.state.control, view.state.mono_ns))
    bad = ("held", "behind", "lost", "failed", "dropped", "gated")
    head: list[Line] = [[("control loop", "head")]] if pairs else []
    return head + [
        [
            (f"{clean(name):12} ", "dim"),
            (cut(clean(text), max(20, width - 13)), "warn" if name in bad else ""),
        ]
        for name, text in pairs
    ]


def flow(pairs: list[tuple[str, str]], width: int) -> list[Line]:
    """``name value`` pairs, as many in a line as fit."""
    lines: list[Line] = []
    used = width
    for name, value in pairs:
        need = len(name) + len(value) + 3
        if used + need > width + 2 or not lines:
            lines.append([])
            used = 0
        lines[-1] += [(f"{name} ", "dim"), (value, ""), ("  ", "")]
        used += need
    return lines
