"""The seconds before a stop as lines: the sentence, the task's steps, who ran on each CPU."""

from __future__ import annotations

from typing import Final

from ktstr_tui.model.history import CpuHistory, Ran, TaskStep
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.before import lasted, rank, seconds, sentence
from ktstr_tui.text.lines import Line, clean, cut, wrap

_BUILTIN: Final = {1 << 63 | 1: "global", 1 << 63 | 2: "local", 1 << 63 | 3: "bypass"}
"""``SCX_DSQ_GLOBAL``, ``SCX_DSQ_LOCAL`` and ``SCX_DSQ_BYPASS``."""
_INDENT: Final = "  "
_PRINTED: Final = 16
"""Stretches of a CPU that are shown as lines."""


def history_lines(report: CaptureReport, width: int) -> list[Line]:
    """The whole history of a capture."""
    history = report.history
    if history is None:
        return []
    lines = brief(report, width)
    if history.steps:
        who = history.wait
        title = "what happened to it" if who is None else f"what happened to {words.task(who.comm, who.pid)}"
        lines += [
            [(title, "head")],
            *_more(history.more_steps),
            *(_step(it, width) for it in history.steps),
            [],
        ]
    if history.texts:
        lines += [[("printed by programs", "head")], *_more(history.more_texts)]
        for it in history.texts:
            lines.append(
                [
                    (f"{_INDENT}{seconds(it.ms):>10} ", "dim"),
                    (f"cpu {it.cpu:<3} ", "dim"),
                    (clean(it.text), ""),
                ]
            )
        lines.append([])
    for cpu in history.cpus:
        lines += [*_cpu(cpu, width), []]
    return lines[:-1]


def brief(report: CaptureReport, width: int) -> list[Line]:
    """The sentence, and what it cannot say for want of a record."""
    history = report.history
    said = sentence(history)
    if history is None or not said:
        return []
    lines: list[Line] = [[("before the stop", "head")]]
    lines += [[(_INDENT, ""), (part, "strong")] for part in wrap(said, max(20, width - 2))]
    wait = history.wait
    if wait is not None and wait.place is not None and wait.left is None and not history.records_dsqs:
        hint = "what goes into and out of DSQs was not recorded (it is with: run --trace scx)"
        lines += [[(_INDENT, ""), (part, "dim")] for part in wrap(hint, max(20, width - 2))]
    return [*lines, []]


def _more(count: int) -> list[Line]:
    return [[(f"{_INDENT}… {count} earlier", "dim")]] if count else []


def _step(it: TaskStep, width: int) -> Line:
    by = "" if it.by_pid is None else words.task(it.by_comm, it.by_pid)
    text = {
        "ran": f"ran, after {by}" if by else "ran",
        "left": f"left the CPU in state {it.state}, {by} followed"
        if by
        else f"left the CPU in state {it.state}",
        "waking": f"was to be woken by {by}" if by else "was to be woken",
        "wakeup": f"woken for cpu {it.to_cpu}",
        "new": f"was made, for cpu {it.to_cpu}",
        "migrate": f"migrated from cpu {it.from_cpu} to cpu {it.to_cpu}",
        "exit": "exited",
        "enqueue": "given to the scheduler",
        "insert": f"inserted into DSQ {_dsq(it.dsq_id)}",
        "remove": f"left DSQ {_dsq(it.dsq_id)}",
        "move": f"moved to the local DSQ of cpu {it.to_cpu}",
    }[it.what]
    return [
        (f"{_INDENT}{seconds(it.ms):>10} ", "dim"),
        (f"cpu {it.cpu:<3} ", "dim"),
        (cut(clean(text), width - 21), ""),
    ]


def _dsq(dsq_id: int | None) -> str:
    if dsq_id is None:
        return "?"
    return _BUILTIN.get(dsq_id) or (
        f"of local cpu {dsq_id & 0xFFFFFFFF}" if dsq_id >> 62 == 3 else f"{dsq_id:#x}"
    )


def _cpu(it: CpuHistory, width: int) -> list[Line]:
    lines: list[Line] = [[(f"CPU {it.cpu:<3} ", "head"), (_known(it), "dim")]]
    if it.unavailable is not None:
        return [*lines, [(f"{_INDENT}unavailable: {clean(it.unavailable)}", "warn")]]
    left_out = it.more + max(0, len(it.ran) - _PRINTED)
    return [*lines, *_more(left_out), *(_ran(one, width) for one in it.ran[-_PRINTED:])]


def _known(it: CpuHistory) -> str:
    parts = [] if it.known_from_ms is None else [f"known from {seconds(it.known_from_ms)}"]
    parts.append(counted(it.events, "event"))
    if it.overwritten:
        parts.append(f"{it.overwritten} older ones overwritten")
    if it.dropped:
        parts.append(f"{it.dropped} dropped by the kernel")
    return ", ".join(parts)


def _ran(it: Ran, width: int) -> Line:
    begin = "earlier" if it.from_ms is None else seconds(it.from_ms)
    length = "" if it.from_ms is None else lasted(it.to_ms - it.from_ms)
    who = "idle" if it.pid == 0 else words.task(it.comm, it.pid)
    role = "dim" if it.pid == 0 else ""
    return [
        (f"{_INDENT}{begin:>10} ", "dim"),
        (f"{length:>7} ", "dim"),
        (cut(f"{clean(who)}{rank(it.prio)}", width - 20), role),
    ]
