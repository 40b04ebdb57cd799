"""One vCPU in lines: what it does now, what waits for it, the last minute, and what the newest capture says of it."""

from __future__ import annotations

from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.sample import OFFLINE, CpuSample
from ktstr_tui.model.state import CpuState, RunState
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, sparkline, wrap
from ktstr_tui.text.report_lines import runqueue_lines, vcpu_lines

_NAME = 18


def cpu_details(state: RunState, number: int, width: int) -> list[Line]:
    """Everything that is known of a CPU, for ``width`` cells; nothing when it was never sampled."""
    cpu = state.cpus.get(number)
    if cpu is None:
        return []
    return [
        *_now(state, cpu),
        *_concerns(state, number, width),
        *_history(cpu, width),
        *_captured(newest_capture(state, number), number, width),
    ]


def newest_capture(state: RunState, number: int) -> CaptureReport | None:
    """The newest capture that holds the runqueue or the registers of a CPU."""
    for it in reversed(state.captures):
        numbers = {vcpu.cpu for vcpu in it.report.vcpus} | {queue.cpu for queue in it.report.runqueues}
        if number in numbers:
            return it.report
    return None


def _now(state: RunState, cpu: CpuState) -> list[Line]:
    latest = cpu.latest
    busy = cpu.busy_history[-1] if cpu.busy_history else None
    rows: list[tuple[str, str, str]] = [
        ("runs", _runs(latest), "dim" if latest.idle else "strong"),
        ("class", latest.curr_class or ABSENT, words.CLASS_ROLES.get(latest.curr_class or "", "")),
        ("nr_running", words.number(latest.nr_running), ""),
        ("scx.nr_running", words.number(latest.scx_nr_running), ""),
        ("local DSQ", words.number(latest.local_dsq_nr), ""),
        ("scx.flags", words.hexadecimal(latest.scx_flags), ""),
        ("rq clock behind", words.milliseconds(words.clock_age_ms(latest, state.guest_ns)), ""),
        ("vCPU busy", ABSENT if busy is None else f"{busy * 100:.0f} % of a host CPU", ""),
    ]
    if latest.is_offline:
        rows = [("state", OFFLINE, "dim")]
    elif latest.unreadable:
        rows.append(("not to be trusted", clean(latest.unreadable), "warn"))
    return [
        [("newest sample", "head")],
        *([(f"  {name:<{_NAME}} ", "dim"), (text, role)] for name, text, role in rows),
    ]


def _runs(latest: CpuSample) -> str:
    task = words.task(latest.curr_comm, latest.curr_pid)
    return f"{task}, idle" if latest.idle else task


def _concerns(state: RunState, number: int, width: int) -> list[Line]:
    """The alerts of this CPU, and the task that waits longest if it is on its runqueue."""
    texts = [(clean(it.text), it.severity) for it in state.alerts.values() if it.cpu == number]
    oldest = state.scheduler.oldest_runnable if state.scheduler is not None else None
    lines: list[Line] = []
    if texts:
        lines += [[], [("alerts", "head")]]
    for text, severity in texts:
        role = "bad" if severity == "error" else "warn"
        lines += [[(f"  {part}", role)] for part in wrap(text, max(20, width - 2))]
    if oldest is not None and oldest.cpu == number:
        lines += [[], [("waits longest on its runqueue", "head")]]
        lines += [[(f"  {part}", "")] for part in wrap(words.waiting(oldest), max(20, width - 2))]
    return lines


def _history(cpu: CpuState, width: int) -> list[Line]:
    room = max(4, min(60, width - _NAME - 3))
    counts = [it for it in cpu.nr_running_history[-room:] if it is not None]
    peak = max(counts, default=0)
    heights = sparkline(cpu.nr_running_history, room, peak or 1)
    return [
        [],
        [("newest samples", "head"), ("  the newest on the right", "dim")],
        [
            (f"  {f'nr_running to {peak}':<{_NAME}} ", "dim"),
            (heights, "spark"),
        ],
        [(f"  {'vCPU busy':<{_NAME}} ", "dim"), (sparkline(cpu.busy_history, room, 1.0), "spark")],
    ]


def _captured(report: CaptureReport | None, number: int, width: int) -> list[Line]:
    if report is None:
        return [[], [("no capture of this CPU yet", "dim")]]
    names = {it.pid: it.comm for it in report.tasks}
    lines: list[Line] = [
        [],
        [("in capture ", "head"), (clean(report.tag), "strong"), ("  enter opens it", "dim")],
    ]
    for queue in report.runqueues:
        if queue.cpu == number:
            lines += runqueue_lines(queue, names, width)
    for vcpu in report.vcpus:
        if vcpu.cpu == number:
            lines += vcpu_lines(vcpu, width)
    return lines
