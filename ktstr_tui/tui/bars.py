"""The bars: the header, the verdict with the worst alert, the scheduler in brief, and the tabs."""

from __future__ import annotations

from textual import events
from textual.content import Content
from textual.message import Message

from ktstr_tui.model.report import exit_kind_name
from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.cause import headline
from ktstr_tui.text.condition import frozen_s
from ktstr_tui.text.control_lines import control_sentence
from ktstr_tui.text.lines import ABSENT, Line, clean, clip, cut, fit, gauge, spread, width_of, wrap
from ktstr_tui.text.progress import scenario_progress, step_progress
from ktstr_tui.tui.headline import Headline, headline_of
from ktstr_tui.tui.pane import LineBar
from ktstr_tui.tui.view import View

WIDE = 100
"""Columns from which on the header says more of the same."""
CONNECTIONS = {
    "connecting": ("○ connecting", "warn"),
    "live": ("● live", "ok"),
    "gone": ("× backend gone", "bad"),
    "replay": ("► replay", "info"),
    "ended": ("■ ended", "dim"),
    "still": ("■ snapshot", "info"),
}


class HeaderBar(LineBar):
    """Which run this is, on what, since when, and how fresh the display is."""

    def lines(self, view: View, width: int) -> list[Line]:
        state = view.state
        info = state.info
        reason = info.accelerator_reason.removeprefix(f"{info.accelerator.upper()} ") if info else ""
        self.tooltip = Content(f"{info.accelerator.upper()} {clean(reason)}") if info and reason else None
        first = _identity(state, width)
        right = [*_freshness(view)[:-2], *_pace(view, width), *_freshness(view)[-2:]]
        if width_of(first) + width_of(right) >= width:
            right = right[-2:]
        room = width - width_of(first) - width_of(right) - 2
        if info is not None and info.seed is not None and info.instruction_ns is not None:
            # The badge has the seed; why there is one is in the tooltip and on the information page.
            reason = f"(time is instructions, {info.instruction_ns} ns each)"
        if reason and room > 24:
            first.append((f" {cut(clean(reason), room - 2)}", "dim"))
        marks = badges(view)
        second = clip(_scheduler_line(view), max(0, width - width_of(marks) - 1))
        return [spread(first, right, width), spread(second, marks, width)]


def _identity(state: RunState, width: int) -> Line:
    info = state.info
    if info is None:
        return [(" ktstr ", "badge"), (" no run yet", "dim")]
    kvm = info.accelerator.lower() == "kvm"
    kernel = state.kernel_release or info.kernel
    line: Line = [
        (f" {cut(clean(info.name), 20)} ", "badge"),
        (" ", ""),
        (cut(clean(kernel), 24), "strong"),
        (" ", ""),
        (f" {info.badge} ", "badge-ok" if kvm else "badge-warn"),
        (" ", ""),
        (info.topology, ""),
    ]
    if info.allow_writes:
        line += [(" ", ""), (" WRITES ", "badge-warn")]
    if width >= WIDE:
        line.append((f" {words.size(info.memory_bytes)}", "dim"))
    return line


def _freshness(view: View) -> Line:
    state = view.state
    text, role = CONNECTIONS["ended" if state.ended is not None else view.connection]
    if view.connection == "ended" and state.ended is None:
        text = "■ end of recording"
    if view.connection == "still":
        return [(text, role), (" ", "")]
    lag = view.source.lag_ms
    span = words.uptime(state.mono_ns - state.started_mono_ns)
    line: Line = [("up " if view.live else "ran ", "dim"), (span, ""), ("  ", "")]
    if view.connection == "live" and lag is not None:
        late = lag > 1000
        line += [("lag ", "dim"), (fit(f"{lag:.0f} ms", 6, "right"), "warn" if late else ""), ("  ", "")]
    return [*line, (text, role), (" ", "")]


def _pace(view: View, width: int) -> Line:
    """How fast the guest's time passes, for a run that lives in it."""
    state = view.source.state
    if view.connection != "live" or state.info is None or state.info.seed is None:
        return []
    pace = view.pace.look(state.mono_ns)
    if pace is None or state.frozen is not None:
        return []
    return [(f"×{pace:.1f}", ""), (" of real time" if width >= WIDE else "", "dim"), ("  ", "")]


def _scheduler_line(view: View) -> Line:
    state = view.state
    line: Line = [
        (" sched ", "dim"),
        *(view.tone(_scheduler(state)) if view.live else _last_scheduler(state)),
    ]
    if state.step is not None:
        steps = state.info.steps if state.info else ()
        name = state.step.name
        place = f"{steps.index(name) + 1}/{len(steps)} " if name in steps else ""
        line += [("   step ", "dim"), (place, ""), (clean(name), "strong" if view.live else "dim")]
    if view.live and state.loading:
        waited_s = max(0, state.mono_ns - state.loading_since_mono_ns) / 1e9
        line += [
            ("   loading ", "dim"),
            (clean(state.loading), "strong"),
            (f" {words.seconds(waited_s)}", "warn"),
        ]
    elif state.step is not None:
        line += [(f"  {step_progress(state)}", "") if view.live else ("", "")]
        whole = scenario_progress(state)
        if state.info is not None and len(state.info.steps) > 1 and whole:
            line += [("  scenario ", "dim"), (whole, "" if view.live else "dim")]
    phase = state.phase if view.live or state.ended is not None else ""
    return [*line, ("   ", ""), (phase, "dim")]


def _scheduler(state: RunState) -> Line:
    scheduler = state.scheduler
    if scheduler is None:
        return [(ABSENT, "dim")]
    if scheduler.unreadable:
        return [("unreadable", "warn")]
    if scheduler.name is None:
        return [("none (EEVDF)", "strong")]
    line: Line = [
        (clean(scheduler.name), "strong"),
        (" ", ""),
        (scheduler.state or ABSENT, scheduler_role(state)),
    ]
    if scheduler.exit_kind:
        line.append((f" {_exit_kind(scheduler)}", "bad"))
    return line


def _exit_kind(scheduler: SchedulerSample) -> str:
    return clean(scheduler.exit_kind_name) or exit_kind_name(scheduler.exit_kind)


def _last_scheduler(state: RunState) -> Line:
    if state.last_change:
        return [(clean(state.last_change), "bad" if state.left_unasked else "dim")]
    name = state.scheduler.name if state.scheduler is not None else None
    return [(clean(name) if name else ABSENT, "dim")]


def scheduler_role(state: RunState) -> str:
    """The role of a loaded scheduler's state; samples may be older than an ejection that was seen at the write."""
    scheduler = state.scheduler
    if state.left_unasked:
        return "bad"
    return "ok" if scheduler is not None and scheduler.state == "enabled" else "warn"


def badges(view: View) -> Line:
    """Show what must never be overlooked: the guest is frozen, or the view is paused."""
    state = view.state
    line: Line = []
    hold = state.control.hold if view.live else None
    if hold is not None:
        left_s = max(0.0, (hold.until_ns - state.mono_ns) / 1e9)
        line += [(f" ‖ HELD {words.seconds(left_s)} ", "badge-warn"), (" ", "")]
    if state.debugger:
        badge = " gdb looks at the past " if state.debugger_back else " gdb attached "
        line += [(badge, "badge-warn"), (" ", "")]
    if state.frozen is not None:
        since_s = frozen_s(state)
        lasts = "" if since_s is None or view.connection == "still" else f"{words.seconds(since_s)} "
        line += [(f" ■ FROZEN {lasts}", "badge-info"), (" ", "")]
    reel = view.reel
    if reel is not None and reel.film is not None:
        sign = "‖" if reel.paused else "▶"
        place = f"+{reel.position_ms / 1e3:.2f} of {(reel.duration_ms or 0.0) / 1e3:.1f} s"
        speed = "" if reel.speed == 1 else f" ×{reel.speed:g}"
        line += [(f" {sign} {place}{speed} ", "badge-info"), (" ", "")]
    if view.paused:
        line += [(f" ‖ paused, {counted(view.behind, 'event')} behind ", "badge-warn"), (" ", "")]
    return line


class VerdictBar(LineBar):
    """The health of the run, in a word and a sentence; an alert stays here until it is cleared."""

    class Clicked(Message):
        """The bar was clicked."""

    def lines(self, view: View, width: int) -> list[Line]:
        head = headline_of(view)
        self.set_classes(f"-{head.role}")
        left: Line = [(f" {head.badge} ", f"badge-{head.role}"), (" ", "")]
        right = _alert_place(view, head)
        indent = width_of(left)
        room = max(20, width - indent - 1)
        first = max(20, room - width_of(right) - 2) if right else room
        parts = wrap(head.sentence, room, first=first, most=4)
        lines = [spread([*left, (parts[0], "strong")], right, width)]
        lines += [[(" " * indent, ""), (part, "strong")] for part in parts[1:]]
        held = clean(control_sentence(view.state.control, view.state.mono_ns)) if view.live else ""
        if held and held != head.sentence:
            lines.append([(" " * indent, ""), (cut(held, room), "warn")])
        if head.before:
            lines.append([(" " * indent, ""), (cut(head.before, room), "dim")])
        captured = view.capture(head.alert.capture) if head.alert is not None and head.alert.capture else None
        if captured is not None and captured.stalled is not None:
            stuck = wrap(headline(captured), room, most=3)
            lines += [[(" " * indent, ""), (part, "")] for part in stuck]
        return [*lines, *_end(view.state, head, width)]

    def on_click(self) -> None:
        self.post_message(self.Clicked())


def _alert_place(view: View, head: Headline) -> Line:
    alerts = view.alerts()
    alert = head.alert
    if alert is None:
        return [] if view.live or view.state.ended is not None else [("i", "key"), (" details ", "dim")]
    line: Line = []
    if alert.capture:
        line += [("a", "key"), (f" opens {clean(alert.capture)} ", "dim")]
    elif alert.kind == "edit":
        line += [("b", "key"), (" build log ", "dim")]
    if len(alerts) > 1 and view.live:
        line += [("{ }", "key"), (f" alert {view.alert_index + 1} of {len(alerts)} ", "dim")]
    return line


def _end(state: RunState, head: Headline, width: int) -> list[Line]:
    """How the run ended, without what the headline says already."""
    ended = state.ended
    if ended is None:
        return []
    told = head.sentence == clean(ended.reason) or head.alert is not None
    text = "" if told else f"{clean(ended.reason)}. "
    place = f"captures and recording: {clean(state.info.data_dir)}" if state.info is not None else ""
    role = "badge" if ended.exit_code == 0 else f"badge-{head.role}"
    text = f"{text}{clean(ended.hint) or place}".rstrip()
    return [_notice(f"■ ENDED, exit {ended.exit_code}", role, text, "i details", width)]


def _notice(badge: str, role: str, text: str, hint: str, width: int) -> Line:
    left: Line = [(f" {badge} ", role), (" ", "")]
    key, _, what = hint.partition(" ")
    right: Line = [(key, "key"), (f" {what} ", "dim")]
    room = width - width_of(left) - width_of(right) - 1
    return spread([*left, (cut(text, room), "")], right, width)


class BriefBar(LineBar):
    """The scheduler in two lines, for terminals too small for its panel."""

    def lines(self, view: View, width: int) -> list[Line]:
        line = deadline_line(view.state, width)
        scheduler, change = view.state.scheduler, view.state.last_change
        if view.past and (scheduler is None or scheduler.name is None):
            line = [(cut(f" last scheduler change: {clean(change) or ABSENT}", width), "")]
        return [view.tone(line)]


def deadline_line(state: RunState, width: int) -> Line:
    """How close the scheduler is to being ejected: the oldest runnable task against the watchdog."""
    scheduler = state.scheduler
    if scheduler is None:
        return [(" oldest runnable ", "dim"), (ABSENT, "dim"), ("  no sample yet", "dim")]
    oldest, window = scheduler.oldest_runnable, scheduler.ejection_window_ms
    if scheduler.unreadable:
        return [
            (" oldest runnable ", "dim"),
            (ABSENT, "dim"),
            (f"  {cut(clean(scheduler.unreadable), width - 22)}", "warn"),
        ]
    if scheduler.name is None:
        last = f"; last: {clean(state.last_change)}" if state.last_change else ""
        return [(cut(f" no sched_ext scheduler loaded{last}", width), "dim")]
    age = oldest.age_ms if oldest else 0.0
    who = (
        f"  {words.task(oldest.comm, oldest.pid)} {clean(oldest.place)}"
        if oldest
        else "  no runnable task waiting"
    )
    head: Line = [(" oldest runnable ", "dim"), (f"{words.milliseconds(age):>7} ", "strong")]
    tail: Line = [(f" of {words.window(window)}", "dim"), (cut(who, max(0, width - 58)), "")]
    if window is None:
        return [*head, *tail]
    room = max(6, min(20, width - width_of(head) - width_of(tail) - 2))
    return [*head, *watchdog_gauge(age, window, room), *tail]


def watchdog_gauge(age_ms: float, window: tuple[float, float], width: int) -> Line:
    """A gauge that ends where the kernel ejects at the latest; from the timeout on its track is denser.

    Args:
        age_ms: Of the oldest runnable task.
        window: Ages between which the kernel ejects: its watchdog looks only every half timeout.
        width: Cells.
    """
    timeout_ms, latest_ms = window
    filled, rest = gauge(age_ms / latest_ms, width)
    share = age_ms / timeout_ms
    role = "bad" if share >= 0.8 else "warn" if share >= 0.5 else "ok"
    before = max(0, round(width * timeout_ms / latest_ms) - len(filled))
    return [(filled, role), ("░" * before + "▒" * (len(rest) - before), "track")]


class TabBar(LineBar):
    """One line of tabs, for panes that share a place.

    Textual's Tabs takes two rows, takes the focus, and scrolls where it does not fit, as in 60 cells (see
    docs/decisions/0006-tab-bar.md). Here the tabs' keys are the panes' numbers, so no focus is needed.
    """

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.tabs: list[tuple[str, str, str]] = []
        """``(pane id, key, label)`` of each tab."""
        self.chosen = ""

    def lines(self, view: View, width: int) -> list[Line]:
        return [[span for span, _tab in self._spans()]]

    def _spans(self) -> list[tuple[tuple[str, str], str]]:
        texts = [(f" {key} {label} ", pane) for pane, key, label in self.tabs]
        for letters in (4, 3, 2, 0):
            if sum(len(text) for text, _pane in texts) <= max(1, self.size.width):
                break
            short = [
                (pane, key, label if pane == self.chosen else label[:letters])
                for pane, key, label in self.tabs
            ]
            texts = [(f" {key} {label}".rstrip() + " ", pane) for pane, key, label in short]
        apart = sum(len(text) + 1 for text, _pane in texts) <= max(1, self.size.width)
        spans = []
        for text, pane in texts:
            spans.append(((text, "tab-on" if pane == self.chosen else "tab"), pane))
            if apart:
                spans.append(((" ", ""), ""))
        return spans

    def choose(self, pane: str) -> None:
        """Mark a tab as the shown one."""
        self.chosen = pane
        if self._view is not None:
            self.sync(self._view)

    def on_click(self, event: events.Click) -> None:
        x = event.x
        for (text, _role), pane in self._spans():
            if 0 <= x < len(text):
                if pane:
                    self.post_message(self.Chosen(pane))
                return
            x -= len(text)
