"""What changed between two captures, as lines: the tasks that waited all along first."""

from __future__ import annotations

from collections.abc import Iterable

from ktstr_tui.model.diff import CpuDiff, MapDiff, QueueDiff, ReportDiff, TaskDiff, ValueDiff, diff_reports
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, wrap

_INDENT = "  "
_PRESENCE = {"both": ("", ""), "new": ("+ ", "ok"), "gone": ("- ", "dim"), "unknown": ("? ", "warn")}
_CODES = frozenset(("exit_kind", "exit_code"))
"""Numbers that are names: how far one is from another says nothing."""
MAX_SHOWN = 40
"""Changed values of one map on the screen; the command has them all."""


def baseline(report: CaptureReport, captures: Iterable[CaptureReport]) -> tuple[CaptureReport | None, str]:
    """Which capture a report is best compared with, or why there is none.

    The capture of an ejection is compared with its early one, any other with the one before it.

    Args:
        report: The later one.
        captures: All captures of the run, oldest first.
    """
    earlier = [it for it in captures if it.tag != report.tag and it.mono_ns <= report.mono_ns]
    if report.early_tag is not None:
        for it in earlier:
            if it.tag == report.early_tag:
                return it, ""
        return None, f"the early capture {clean(report.early_tag)} is no longer kept"
    if report.early_skipped_reason is not None:
        return None, f"no early capture: {clean(report.early_skipped_reason)}"
    return (earlier[-1], "") if earlier else (None, "no earlier capture to compare with")


def changes(report: CaptureReport, captures: Iterable[CaptureReport], width: int) -> list[Line]:
    """The section of a report that says what changed since an earlier capture."""
    before, why = baseline(report, captures)
    if before is None:
        return [[(part, "dim")] for part in wrap(why, width)]
    return diff_lines(diff_reports(before, report), width)


def diff_lines(diff: ReportDiff, width: int) -> list[Line]:
    """A difference in full."""
    if diff.between_ms is None:
        between = "at an unknown distance"
    else:
        backwards = ", the first was taken later" if diff.between_ms < 0 else ""
        between = f"{words.milliseconds(abs(diff.between_ms))} apart{backwards}"
    head: Line = [
        (clean(diff.before), "strong"),
        (" → ", "dim"),
        (clean(diff.after), "strong"),
        (f"  {between}", ""),
    ]
    lines: list[Line] = [head]
    for section, note in diff.notes.items():
        lines += [[(part, "warn")] for part in wrap(f"{section}: {clean(note)}", width)]
    lines += _section("tasks", [_task(it, width) for it in diff.tasks], diff, "no runnable task in either")
    lines += _section("dsqs", [_queue(it) for it in diff.queues], diff, "nothing was queued or moved")
    lines += _section("runqueues", [_cpu(it, width) for it in diff.cpus], diff, "none compared")
    values = [_value(it, width) for it in (*diff.scheduler, *diff.counters)]
    lines += _section("scheduler", values, diff, "nothing changed")
    if diff.stats:
        lines += _section("statistics", [_value(it, width) for it in diff.stats], diff, "")
    lines += _section("maps", [line for it in diff.maps for line in _map(it, width)], diff, "nothing changed")
    return lines


_TITLES = {"dsqs": "DSQs", "runqueues": "CPUs"}


def _section(name: str, lines: list[Line], diff: ReportDiff, empty: str) -> list[Line]:
    if not lines and diff.notes.get(name, "").startswith("not compared"):
        return []
    text = "nothing in what could be read" if name in diff.notes else empty
    return [[], [(_TITLES.get(name, name), "head")], *(lines or [[(_INDENT + text, "dim")]])]


def _task(it: TaskDiff, width: int) -> Line:
    mark, role = _PRESENCE[it.presence]
    line: Line = [
        (_INDENT + mark, role),
        (f"{words.task(it.comm, it.pid):<24} ", "bad" if it.starved else "strong"),
    ]
    if it.presence == "both":
        ages = f"{words.milliseconds(it.age_before_ms)} → {words.milliseconds(it.age_after_ms)}"
        line.append((f"{ages:<20} ", ""))
    else:
        age = it.age_after_ms if it.age_after_ms is not None else it.age_before_ms
        line.append((f"{words.milliseconds(age):<20} ", ""))
    line.append((f"{_moved(it.dsq_before, it.dsq_after, it.presence)}", "dim"))
    if it.starved:
        line.append(("  did not run in between", "bad"))
    elif it.presence == "unknown":
        line.append(("  in one capture only; the other's list was cut", "warn"))
    elif it.presence != "both":
        line.append(("  new" if it.presence == "new" else "  no longer runnable", "dim"))
    return _cut_line(line, width)


def _moved(before: str | None, after: str | None, presence: str) -> str:
    if presence == "new":
        return words.queue(after)
    if presence == "gone" or (presence == "unknown" and after is None):
        return words.queue(before)
    if presence == "unknown":
        return words.queue(after)
    if before == after:
        return words.queue(after)
    names = [ABSENT if it is None else clean(it) for it in (before, after)]
    return f"DSQ {names[0]} → {names[1]}"


def _queue(it: QueueDiff) -> Line:
    mark, role = _PRESENCE[it.presence]
    depth = f"nr {words.number(it.nr_before)} → {words.number(it.nr_after)}"
    waiting = (it.nr_after or 0) - (it.nr_before or 0)
    # What was inserted and is not there any more; a queue caught in the middle of a change gives no number.
    # A move to a local DSQ does not count in its seq, so only users' queues are balanced.
    counted_all = it.origin == "user" and it.presence == "both" and it.moved is not None
    removed = it.moved - waiting if counted_all and it.moved is not None and it.moved >= waiting else None
    stuck = it.presence == "both" and bool(it.nr_before) and removed == 0
    line: Line = [
        (_INDENT + mark, role),
        (f"{clean(it.label):<18} ", "strong"),
        (f"{depth:<18} ", "bad" if stuck else ""),
    ]
    line.append((f"{waiting:+d} waiting", "dim"))
    if removed is not None:
        line.append((f", {it.moved} inserted, {removed} removed", "dim"))
    if stuck:
        line.append(("  no task left it", "bad"))
    if it.presence == "unknown":
        line.append(("  in one capture only; the other's list was cut", "warn"))
    return line


def _cpu(it: CpuDiff, width: int) -> Line:
    line: Line = [(f"{_INDENT}cpu {it.cpu:<3} ", "dim")]
    line.append((_change(it.nr_running_before, it.nr_running_after, "nr_run"), ""))
    line.append((_change(it.local_dsq_before, it.local_dsq_after, "local_dsq"), ""))
    before, after = clean(it.curr_before or ABSENT), clean(it.curr_after or ABSENT)
    line.append((f"curr {after}" if before == after else f"curr {before} → {after}", "strong"))
    # The clock of an idle CPU is brought up to date only when something happens there.
    if it.clock_ns == 0 and it.nr_running_after:
        line.append(("  clock not advancing", "warn"))
    return _cut_line(line, width)


def _change(before: int | None, after: int | None, name: str) -> str:
    text = words.number(after) if before == after else f"{words.number(before)}→{words.number(after)}"
    return f"{name}={text:<7} "


def _value(it: ValueDiff, width: int) -> Line:
    line: Line = [(f"{_INDENT}{clean(it.name) or 'value'} ", "dim")]
    if it.delta is not None and it.name not in _CODES:
        line.append((f"{it.delta:+d}  " if isinstance(it.delta, int) else f"{it.delta:+g}  ", "strong"))
    room = max(8, (width - sum(len(text) for text, _ in line) - 3) // 2)
    return [*line, (f"{cut(_text(it.before), room)} → {cut(_text(it.after), room)}", "")]


def _text(value: object) -> str:
    if isinstance(value, tuple | list) and all(isinstance(it, str) for it in value):
        return counted(len(value), "line")
    return ABSENT if value is None else clean(str(value))


def _map(it: MapDiff, width: int) -> list[Line]:
    mark, role = _PRESENCE[it.presence]
    title: Line = [
        (_INDENT + mark, role),
        (clean(it.name), "strong"),
        (f"  {clean(it.map_type)} {it.id}", "dim"),
    ]
    lines = [title, *([(_INDENT, ""), *_value(value, width - 2)] for value in it.values[:MAX_SHOWN])]
    more = len(it.values) - MAX_SHOWN
    if more > 0 or it.truncated:
        text = counted(more, "more value", "more values") + " changed" if more > 0 else "more values changed"
        lines.append([(f"{_INDENT * 2}… {text}{', and others' if it.truncated else ''}", "warn")])
    return lines


def _cut_line(line: Line, width: int) -> Line:
    kept: Line = []
    for text, role in line:
        kept.append((cut(text, width), role))
        width -= len(text)
        if width <= 0:
            break
    return kept
