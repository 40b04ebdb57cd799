"""A change of the scheduler as lines: before and after side by side, marks on a sparkline, what is printed of it."""

from __future__ import annotations

from ktstr_tui.model.edit import Change, Health
from ktstr_tui.model.events import BuildChanged, BuildLoaded, Event, SchedulerSwapped
from ktstr_tui.model.fold_edit import after_of, change_words, newest_taken
from ktstr_tui.model.fold_run import LOADING_MARK
from ktstr_tui.model.scheduler_swap import SwapFailed, SwapRejected
from ktstr_tui.model.state import RunState
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, fit, wrap

MARK = "┊"
"""Where the scheduler was changed, on a sparkline."""
STIMULUS_MARK = "↓"
"""Where an operation of the scenario was done, on a sparkline."""
PRINTED_LINES = 40
"""Of the log of a build that failed, without a screen."""
MAX_HEADLINE_LINES = 3
SCHEDULER_LOG = "scheduler.log"
"""All that schedulers and their loaders printed, in the run's directory."""


def rows_of(health: Health | None) -> list[str]:
    """The values of a scheduler's health in words, in the order of `ROWS`."""
    if health is None:
        return [ABSENT] * len(ROWS)
    rate = health.switches_per_s
    return [
        words.milliseconds(health.wait_p50_ms),
        words.milliseconds(health.wait_max_ms),
        words.number(None if rate is None else round(rate)),
        words.number(health.ejections),
        words.number(health.stalls),
    ]


ROWS = ("wait p50", "wait max", "switches/s", "ejections", "stalls")


def edit_lines(state: RunState, width: int) -> list[Line]:
    """The newest change of the scheduler, and the newest trouble with one; nothing where there was none."""
    lines = _trouble(state, width)
    change = newest_taken(state)
    if change is not None:
        of = f"build {change.build}" if change.build else clean(change.name)
        took = "" if change.since_save_ms is None else f"  {change.since_save_ms / 1e3:.1f} s after the save"
        lines.append([(cut(f"{MARK} {of}", width), "head"), (cut(took, max(0, width - len(of) - 2)), "dim")])
        column = max(7, min(12, (width - 11) // 2))
        lines.append(
            [(" " * 11, ""), (fit("before", column, "right"), "dim"), (fit("now", column, "right"), "dim")]
        )
        for name, before, now in zip(
            ROWS, rows_of(change.before), rows_of(after_of(state, change)), strict=True
        ):
            cells: Line = [(fit(before, column, "right"), "dim"), (fit(now, column, "right"), "strong")]
            lines.append([(fit(name, 11), "dim"), *cells])
    return [*lines, []] if lines else []


def _trouble(state: RunState, width: int) -> list[Line]:
    build, change = state.edit.build, state.edit.changes[-1] if state.edit.changes else None
    if build is not None and build.phase == "started":
        return [[(cut(f"build {build.number}: {clean(build.command)}", width), "info")]]
    if build is not None and build.phase == "failed":
        text = f"build {build.number} failed: {clean(build.headline)}"
    elif change is not None and change.outcome in ("rejected", "failed", "timed-out"):
        text = clean(change_words(change))
    else:
        return []
    return [[(line, "bad")] for line in wrap(text, width, most=MAX_HEADLINE_LINES)]


def with_marks(bars: str, state: RunState, role: str) -> Line:
    """A sparkline of samples with a mark before the first sample after each operation and change of the scheduler."""
    width = len(bars)
    places: dict[int, str] = {}
    for marks, sign in ((state.stimulus_marks, STIMULUS_MARK), (state.marks, MARK)):
        for mark in marks:
            places[min(width - 1, width - (state.samples - mark))] = sign
    line: Line = []
    start = 0
    for at in sorted(place for place in places if 0 <= place < width):
        line += [(bars[start:at], role), (places[at], "strong")]
        start = at + 1
    return [*line, (bars[start:], role)]


def comparison(change: Change, after: Health | None) -> str:
    """Before and after in one line."""
    pairs = zip(ROWS, rows_of(change.before), rows_of(after), strict=True)
    return ", ".join(f"{name} {before} → {now}" for name, before, now in pairs)


def log_page(state: RunState) -> tuple[str, str, tuple[str, ...], str] | None:
    """Title, headline, log and file of the newest build or refused scheduler; None when there was none."""
    if state.lifecycle == "SchedulerNotAttached":
        return _refused_at_start(state)
    build, change = state.edit.build, state.edit.changes[-1] if state.edit.changes else None
    of_build = build is not None and build.phase != "started" and build.phase != "built"
    if change is not None and not of_build and (change.log or change.headline):
        return change_words(change).partition(":")[0], change.headline, change.log, ""
    if build is None:
        return None
    return f"Build {build.number} {build.phase}: {build.command}", build.headline, build.log, build.path


def _refused_at_start(state: RunState) -> tuple[str, str, tuple[str, ...], str]:
    """The page of a scheduler that a step was to load: what its loader printed since it was started."""
    said = [clean(line.text) for line in state.output if line.source == "sched_log"]
    begins = [
        at for at, line in enumerate(said) if (mark := LOADING_MARK.fullmatch(line)) and mark[1] == "begin"
    ]
    of = LOADING_MARK.fullmatch(said[begins[-1]]) if begins else None
    log = said[begins[-1] + 1 :] if begins else said
    kept = tuple(line for line in log if not LOADING_MARK.fullmatch(line))
    path = f"{state.info.data_dir}/{SCHEDULER_LOG}" if state.info is not None and state.info.data_dir else ""
    title = f"{of[2] if of else 'The scheduler'} did not attach"
    return title, state.lifecycle_reason, kept, path if kept else ""


def printed(event: Event) -> list[str]:
    """What is printed of an event where there is no screen: the line that matters first, then the log."""
    match event:
        case BuildChanged(phase="failed"):
            head = f"build {event.build} failed: {event.headline}"
            where = [f"  all of it: {event.path}"] if event.path else []
            return [head, *(f"  {line}" for line in event.log[-PRINTED_LINES:]), *where]
        case BuildChanged():
            return [f"build {event.build} {event.phase}: {event.command}"]
        case BuildLoaded():
            change = Change(
                mono_ns=event.mono_ns,
                build=event.build,
                name=event.name,
                outcome=event.result,
                headline=event.reason,
                since_save_ms=event.since_save_ms,
            )
            return [change_words(change)]
        case SchedulerSwapped(outcome=SwapRejected() | SwapFailed() as refused):
            return [
                f"{event.name}: {refused.reason}",
                *(f"  {line}" for line in refused.log[-PRINTED_LINES:]),
            ]
    return []
