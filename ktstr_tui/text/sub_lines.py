"""Sub-schedulers as lines: the tree of a capture and that of a sample, under the scheduler that is loaded."""

from __future__ import annotations

from ktstr_tui.model.report import CaptureReport, SchedulerReport, exit_kind_name
from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, fit, spread, wrap


def scheduler_name(it: SchedulerReport) -> str:
    """The name of a scheduler, with its cgroup if it is a sub-scheduler."""
    name = clean(it.name or ABSENT)
    return name if it.cgroup is None else f"{name} of {clean(it.cgroup)}"


def tree(report: CaptureReport, width: int) -> list[Line]:
    """The loaded scheduler and those below it, indented by their level; nothing when there are none below."""
    root = report.root or report.scheduler
    if root is None or not report.subs:
        return []
    counts: dict[str | None, int] = {}
    for task in report.tasks:
        counts[task.sub] = counts.get(task.sub, 0) + 1
    about = report.scheduler.cgroup if report.scheduler is not None else None
    rows = (root, *report.subs)
    return [_row(it, counts.get(it.cgroup, 0), width, marked=it.cgroup == about) for it in rows]


def _row(it: SchedulerReport, waiting: int, width: int, *, marked: bool) -> Line:
    kind = clean(it.exit_kind_name or exit_kind_name(it.exit_kind))
    indent = "  " * (1 + (it.level or 0))
    name = f"{indent}{clean(it.cgroup) if it.cgroup is not None else '/'} {clean(it.name or ABSENT)}"
    room = max(20, width - 48)
    line: Line = [(fit(name, room), "strong" if marked else ""), (f" {it.state or ABSENT:<10}", "")]
    line += [(f" runnable {waiting:<4}", "dim")]
    if it.exit_kind:
        line.append((cut(f" {kind} ({words.number(it.exit_kind)})", 24), "bad"))
    return line


def live_tree(scheduler: SchedulerSample, width: int) -> list[Line]:
    """The schedulers below the loaded one: cgroup, indented by level, name, state and runnable tasks."""
    lines: list[Line] = []
    if scheduler.subs_unreadable:
        lines += [[(part, "warn")] for part in wrap(f"unreadable: {clean(scheduler.subs_unreadable)}", width)]
    for it in scheduler.subs:
        indent = "  " * (it.level - 1)
        role = "ok" if it.state == "enabled" else "warn"
        cgroup = cut(f"{indent}{clean(it.cgroup)}", max(8, width - 18))
        name: Line = [(cgroup, "strong"), (cut(f" {clean(it.name)}", max(0, width - 18 - len(cgroup))), "")]
        lines.append(spread(name, [(f"● {it.state}", role), (f"{it.nr_runnable:>5}", "")], width))
        if it.exit_kind:
            lines.append(
                [
                    (
                        cut(
                            f"{indent}  exit_kind {clean(it.exit_kind_name) or exit_kind_name(it.exit_kind)}",
                            width,
                        ),
                        "bad",
                    )
                ]
            )
    if scheduler.subs_truncated:
        lines.append([("… more sub-schedulers (limit reached)", "warn")])
    if not lines:
        return []
    return [spread([("sub-scheduler", "head")], [("runnable", "head")], width), *lines, []]
