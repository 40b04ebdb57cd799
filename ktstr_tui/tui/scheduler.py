"""The scheduler panel: who is loaded, how close it is to being ejected, its queues and event counters."""

from __future__ import annotations

from ktstr_tui.model.report import exit_kind_name, is_ejection
from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.model.state import RunState
from ktstr_tui.text import words
from ktstr_tui.text.edit_lines import edit_lines, with_marks
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, faded, fit, sparkline, spread, text_of, wrap
from ktstr_tui.text.sub_lines import live_tree
from ktstr_tui.text.value_lines import value_lines
from ktstr_tui.tui.bars import scheduler_role, watchdog_gauge
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View


class SchedulerPane(LinePane):
    """The loaded sched_ext scheduler."""

    label = "scheduler"
    tab = "sched"
    number = "2"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._lines: list[Line] = []

    def load(self, view: View, width: int) -> int:
        lines = [it for it in scheduler_lines(view.state, width, view.past) if self.keeps(text_of(it))]
        self._lines = lines if view.past else [view.tone(line) for line in lines]
        return len(self._lines)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]

    def empty(self, view: View) -> str:
        return "No sample was taken." if view.over else "The scheduler appears with the first sample."


def scheduler_lines(state: RunState, width: int, past: str = "") -> list[Line]:
    """All lines of the panel.

    Args:
        state: The run.
        width: Cells.
        past: Why nothing of this is so now (``ended``, ``gone``); empty while it is.
    """
    scheduler = state.scheduler
    if scheduler is None:
        return []
    if past:
        return _last_known(state, scheduler, width, past)
    if scheduler.unreadable:
        why = wrap(f"unreadable: {clean(scheduler.unreadable)}", width)
        return [[(line, "warn")] for line in why]
    if scheduler.name is None:
        return _absent(state, scheduler, width)
    return _loaded(state, scheduler, width)


def _loaded(state: RunState, scheduler: SchedulerSample, width: int) -> list[Line]:
    return [
        *_identity(state, scheduler, width),
        [],
        *live_tree(scheduler, width),
        *_deadline(state, scheduler, width),
        *_disturbances(state, width),
        *edit_lines(state, width),
        *_queues(scheduler, width),
        *_counters(scheduler, width),
        *value_lines(state, width),
        *_workers(state, width),
    ]


def _last_known(state: RunState, scheduler: SchedulerSample, width: int, past: str) -> list[Line]:
    """The last sample without colours, and what is worth knowing of the schedulers that are gone."""
    why = {"ended": "the run has ended", "gone": "the backend is gone"}.get(past, "not connected")
    head: list[Line] = [[("last sample", "head"), (f"  {why}", "dim")], []]
    if scheduler.name is not None and not scheduler.unreadable:
        return [*head, *map(faded, _loaded(state, scheduler, width))]
    workers = [faded(line) for line in _workers(state, width)]
    return [*head[:1], *_changes(state, scheduler, width), *workers, *_looking_back(state, width)]


def _absent(state: RunState, scheduler: SchedulerSample, width: int) -> list[Line]:
    lines: list[Line] = [[("none", "strong"), (f"  {scheduler.state or 'disabled'}", "dim")]]
    lines += [[(line, "dim")] for line in wrap("No sched_ext scheduler loaded (EEVDF is in charge).", width)]
    lines += _changes(state, scheduler, width)
    changes = edit_lines(state, width)
    return [
        *lines,
        *([[], *changes[:-1]] if changes else []),
        *_workers(state, width),
        *_looking_back(state, width),
    ]


def _changes(state: RunState, scheduler: SchedulerSample, width: int) -> list[Line]:
    lines: list[Line] = []
    if state.last_change:
        role = "bad" if state.left_unasked else "dim"
        lines += [[], [("last change", "head")]]
        lines += [[(line, role)] for line in wrap(clean(state.last_change), width)]
    if scheduler.enable_seq is not None:
        lines.append([("enable_seq ", "dim"), (str(scheduler.enable_seq), "")])
    if state.ejections:
        lines.append([("ejections ", "dim"), (str(state.ejections), "bad")])
    return lines


def _looking_back(state: RunState, width: int) -> list[Line]:
    """What is worth knowing of schedulers that are gone: how long tasks waited, and what the last one died of."""
    lines: list[Line] = []
    shown = [age for age in state.runnable_age_history[-width:] if age is not None]
    if any(shown):
        right: Line = [("up to ", "dim"), (words.milliseconds(max(shown)), "strong")]
        lines += [[], spread([("oldest runnable", "head")], right, width)]
        lines.append(with_marks(sparkline(state.runnable_age_history, width), state, "spark"))
    capture = next((it.report for it in reversed(state.captures) if it.report.trigger == "error"), None)
    if capture is None or capture.scheduler is None:
        return lines
    last = capture.scheduler
    lines += [[], [("last capture", "head"), (f"  {clean(capture.tag)}", "")]]
    for text, role in ((last.reason, "strong"), (last.message, "")):
        if text:
            lines += [[(part, role)] for part in wrap(clean(text), width)]
    return lines


def _identity(state: RunState, scheduler: SchedulerSample, width: int) -> list[Line]:
    role = scheduler_role(state)
    name = cut(clean(scheduler.name or ABSENT), width - 12)
    kind = scheduler.exit_kind
    first: Line = [(name, "strong"), ("  ", ""), (f"● {scheduler.state or ABSENT}", role)]
    second: Line = [
        ("exit_kind ", "dim"),
        (
            ABSENT if kind is None else clean(scheduler.exit_kind_name) or exit_kind_name(kind),
            "bad" if is_ejection(kind) else "",
        ),
        ("  enable_seq ", "dim"),
        (words.number(scheduler.enable_seq), ""),
    ]
    third: Line = [("nr_runnable ", "dim"), (words.number(scheduler.nr_runnable), "")]
    third += [("  bypass_depth ", "dim"), (words.number(scheduler.bypass_depth), "")]
    if scheduler.aborting:
        third.append(("  aborting", "bad"))
    return [first, second, third]


def _deadline(state: RunState, scheduler: SchedulerSample, width: int) -> list[Line]:
    oldest, window = scheduler.oldest_runnable, scheduler.ejection_window_ms
    age = oldest.age_ms if oldest else 0.0
    right: Line = [(f"{words.milliseconds(age)}", "strong"), (f" of {words.window(window)}", "dim")]
    lines = [spread([("oldest runnable", "head")], right, width)]
    if window is not None:
        label = f" {age / window[0] * 100:3.0f} %"
        lines.append([*watchdog_gauge(age, window, max(4, width - len(label))), (label, "strong")])
        if age >= window[0]:
            lines.append([(cut("ejected at the watchdog's next look", width), "bad")])
    if oldest is None:
        lines.append([("no runnable task waiting", "dim")])
    else:
        where = f"{clean(oldest.place)}, rq of cpu {oldest.cpu}"
        who = words.task(oldest.comm, oldest.pid)
        lines.append([(cut(who, 24), "strong"), (cut(f" {where}", width - min(24, len(who))), "")])
    top = None if window is None else window[1]
    lines.append(with_marks(sparkline(state.runnable_age_history, width, top), state, "spark"))
    return [*lines, []]


def _queues(scheduler: SchedulerSample, width: int) -> list[Line]:
    peak = max((it.nr for it in scheduler.dsqs), default=0)
    lines = [spread([("DSQ", "head")], [("nr", "head")], width)]
    bar = max(4, width - 16 - 7)
    order = {sub: at for at, sub in enumerate(dict.fromkeys((None, *(it.sub for it in scheduler.dsqs))))}
    cgroup: str | None = None
    for queue in sorted(scheduler.dsqs, key=lambda it: order[it.sub]):
        if queue.sub != cgroup:
            cgroup = queue.sub
            lines.append([(cut(f"of {clean(cgroup or '')}", width), "head")])
        filled = "█" * round(bar * queue.nr / peak) if peak else ""
        role = "" if queue.nr else "dim"
        label = clean(queue.label.removesuffix(f" of {queue.sub}"))
        spans: Line = [(fit(label, 16), role), (fit(filled, bar), "spark")]
        lines.append([*spans, (f"{queue.nr:>7}", role)])
    if not scheduler.dsqs:
        lines.append([("no queues", "dim")])
    if scheduler.dsqs_truncated:
        lines.append([("… more queues (limit reached)", "warn")])
    return [*lines, []]


def _workers(state: RunState, width: int) -> list[Line]:
    """The scenario's workers in their newest report: iterations per second, and in total."""
    if not state.workers:
        return []
    lines: list[Line] = [[], spread([("worker", "head")], [("it/s     total", "head")], width)]
    for worker in state.workers:
        rate = state.worker_rates.get(worker.pid)
        speed = ABSENT if rate is None else words.number(round(rate))
        right: Line = [
            (f"{speed:>8}", "" if rate else "dim"),
            (f"{words.number(worker.iterations):>10}", "dim"),
        ]
        lines.append(spread([(cut(words.task(worker.comm, worker.pid), width - 19), "")], right, width))
    return lines


def _disturbances(state: RunState, width: int) -> list[Line]:
    """How often tasks lose their CPU and CPUs are kicked: much of both is a kick storm. Nothing without rates."""
    rates = state.task_rates
    if rates is None or rates.unavailable is not None or not rates.span_ms:
        return []
    per_s = 1e3 / rates.span_ms
    preempted = sum(cpu.preempted for cpu in rates.cpus)
    kicks: tuple[str, str] = ("needs --trace scx", "dim")
    if rates.kicks is not None:
        kicks = (words.number(round(rates.kicks * per_s)), "")
    return [
        spread([("preemptions/s", "dim")], [(words.number(round(preempted * per_s)), "")], width),
        spread([("kicks/s", "dim")], [kicks], width),
        [],
    ]


def _counters(scheduler: SchedulerSample, width: int) -> list[Line]:
    counters = scheduler.event_counters
    if counters is None:
        return [[("events ", "head"), ("not provided by this kernel", "dim")]]
    lines: list[Line] = [[("SCX_EV_…", "head")]]
    for name, value in counters.items():
        short = clean(name).removeprefix("SCX_EV_")
        role = "" if value else "dim"
        # The only one that is no count: SCX_EV_BYPASS_DURATION is in nanoseconds.
        text = (
            words.milliseconds(value / 1e6) if value and short.endswith("_DURATION") else words.number(value)
        )
        lines.append(spread([(cut(short, width - 9), role)], [(text, role)], width))
    return lines
