"""A capture as lines, in the order and the words of the kernel's own debug dump.

Every function composes one section for a width; nothing here knows a terminal.
"""

from __future__ import annotations

from ktstr_tui.model.host import host_words
from ktstr_tui.model.report import (
    CaptureReport,
    DsqReport,
    RunningTask,
    RunqueueReport,
    Stack,
    TaskReport,
    VcpuReport,
    exit_kind_name,
    is_ejection,
)
from ktstr_tui.text import words
from ktstr_tui.text.cause import headline, subject
from ktstr_tui.text.cause_lines import cause_lines, dump_brief, hard_wrap, kernel_dump
from ktstr_tui.text.history_lines import brief
from ktstr_tui.text.lines import ABSENT, Line, clean, cut, wrap
from ktstr_tui.text.sub_lines import scheduler_name, tree

_REGISTERS = (
    "rip", "rsp", "rbp", "rflags", "eflags", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
    "r12", "r13", "r14", "r15", "cr0", "cr2", "cr3", "cr4", "fs_base", "gs_base", "k_gs_base",
)  # fmt: skip
_INDENT = "  "
LATE = "late"
"""Kind of note of what was read after the guest had resumed."""


def notes(report: CaptureReport) -> list[tuple[str, str, str]]:
    """What is missing, cut or late, as ``(kind, section, reason)``."""
    kinds = (
        ("unavailable", report.unavailable),
        ("truncated", report.truncated),
        (LATE, report.read_late),
    )
    return [(kind, section, clean(reason)) for kind, table in kinds for section, reason in table.items()]


def section_note(report: CaptureReport, *sections: str) -> list[Line]:
    """Notes about some sections, to stand above them."""
    return [
        [(f"{kind}: {section}: {reason}", note_role(kind))]
        for kind, section, reason in notes(report)
        if section in sections
    ]


def note_role(kind: str) -> str:
    """Late is worth a remark, missing is worth a warning."""
    return "dim" if kind == LATE else "warn"


def overview(report: CaptureReport, width: int) -> list[Line]:
    """The cause of an ejection, the task it is about, the scheduler, the pause, notes, each CPU in brief."""
    lines: list[Line] = []
    if report.is_placeholder:
        lines += [[(text, "bad")] for text in wrap(headline(report), width)] + [[]]
    if report.host is not None:
        told = wrap(clean(host_words(report.host)), max(20, width - 2))
        lines += [_title("host"), *([(_INDENT, ""), (text, "warn")] for text in told), []]
    lines += cause_lines(report, width)
    lines += brief(report, width)
    title, full = subject(report)
    if full is not None:
        lines += [_title(title), *task_detail(full, width), []]
    lines += [_title("scheduler"), *scheduler_info(report, width), []]
    below = tree(report, width)
    if below:
        lines += [_title("schedulers"), *below, []]
    lines += [_title("CPUs"), *_cpus_brief(report, width), []]
    if report.dsqs:
        lines += [_title("DSQs"), *(_dsq_head(it) for it in report.dsqs), []]
    lines += [_title("capture"), *_capture_info(report, width)]
    for kind, section, reason in notes(report):
        first, *rest = wrap(f"{section}: {reason}", max(20, width - 14)) or [""]
        lines.append([(f"{_INDENT}{kind:<12}", note_role(kind)), (first, "")])
        lines += [[(" " * 14 + more, "")] for more in rest]
    return lines


def _title(text: str) -> Line:
    return [(text, "head")]


def _pairs(*pairs: tuple[str, str]) -> Line:
    line: Line = [(_INDENT, "")]
    for name, value in pairs:
        line += [(f"{name}=", "dim"), (value, ""), (" ", "")]
    return line


def _rows(width: int, *pairs: tuple[str, str]) -> list[Line]:
    rows: list[Line] = []
    row: list[tuple[str, str]] = []
    used = 2
    for name, value in pairs:
        need = len(name) + len(value) + 2
        if row and used + need > width:
            rows.append(_pairs(*row))
            row, used = [], 2
        row.append((name, value))
        used += need
    return [*rows, _pairs(*row)]


def task_detail(task: TaskReport, width: int) -> list[Line]:
    """One task as the debug dump prints it, with what its users ask for besides."""
    head: Line = [
        (_INDENT, ""),
        (f"{task.state} {words.task(task.comm, task.pid)}", "strong"),
        (f" -{task.age_ms:.0f}ms" if task.age_ms is not None else " age –", "bad" if task.age_ms else ""),
        ("  on CPU now" if task.on_cpu else f"  {words.where(task)}, rq of cpu {task.cpu}", ""),
    ]
    rows = _rows(width, *_task_pairs(task))
    there = [(f"{_INDENT}running there  ", "dim"), (words.running(task.running_there), "strong")]
    return [head, *rows, there, *stack_lines(task.stack, width)]


def _task_pairs(task: TaskReport) -> list[tuple[str, str]]:
    """What is known of a task; members that this kernel does not have are left out."""
    number, hexadecimal = words.number, words.hexadecimal
    known: list[tuple[str, object, str]] = [
        ("sub-scheduler", task.sub, task.sub or ""),
        ("weight", task.weight, number(task.weight)),
        ("slice", task.slice_ns, words.slice_left(task.slice_ns)),
        ("scx_state/flags", task.scx_flags, f"{task.scx_state or ABSENT}/{hexadecimal(task.scx_flags)}"),
        ("flags", task.scx_flag_names or None, "|".join(task.scx_flag_names)),
        ("dsq_flags", task.dsq_flags, hexadecimal(task.dsq_flags)),
        ("ops_state/qseq", task.ops_state, _ops_state(task)),
        ("sticky/holding_cpu", task.sticky_cpu, f"{number(task.sticky_cpu)}/{number(task.holding_cpu)}"),
        ("dsq_id", task.dsq_id, hexadecimal(task.dsq_id)),
        ("ddsp_dsq_id", task.ddsp_dsq_id, hexadecimal(task.ddsp_dsq_id)),
        ("dsq_seq", task.dsq_seq, number(task.dsq_seq)),
        ("dsq_vtime", task.dsq_vtime, number(task.dsq_vtime)),
        ("no_mig", task.no_mig, number(task.no_mig)),
        ("core_cookie", task.core_cookie, hexadecimal(task.core_cookie)),
    ]
    return [
        ("tgid", str(task.tgid)),
        ("class", clean(task.sched_class)),
        ("policy", clean(task.policy)),
        ("nice", str(task.nice)),
        *((name, clean(text)) for name, value, text in known if value is not None),
        ("cpus", f"{clean(task.cpus_allowed)} ({task.nr_cpus_allowed})"),
    ]


def _ops_state(task: TaskReport) -> str:
    name = task.ops_state_name or words.hexadecimal(task.ops_state)
    return name if task.ops_qseq is None else f"{name}/{task.ops_qseq}"


def stack_lines(stack: Stack | None, width: int) -> list[Line]:
    """A kernel stack, innermost first."""
    if stack is None:
        return [[(f"{_INDENT}no stack: the task is running or was not unwound", "dim")]]
    lines: list[Line] = []
    for frame in stack.frames:
        line: Line = [
            (f"    {frame.address:016x}  ", "dim"),
            (cut(clean(frame.symbol or "?"), width - 24), ""),
        ]
        if frame.guess:
            line.append((" ?", "warn"))
        if frame.source:
            line.append(
                (cut(f"  {clean(frame.source)}", max(0, width - 26 - len(frame.symbol or "?"))), "key")
            )
        lines.append(line)
    return [*lines, [(f"    ({clean(stack.end)})", "dim")]]


def scheduler_info(report: CaptureReport, width: int) -> list[Line]:
    """``struct scx_sched`` and its exit info."""
    it = report.scheduler
    if it is None:
        reason = clean(report.unavailable.get("scheduler", "no sched_ext scheduler was loaded"))
        return [[(f"{_INDENT}{reason}", "dim")]]
    kind = clean(it.exit_kind_name or exit_kind_name(it.exit_kind))
    bad = is_ejection(it.exit_kind)
    head: Line = [(_INDENT, ""), (scheduler_name(it), "strong"), (f"  {it.state or ABSENT}  ", "")]
    head += [("exit_kind=", "dim"), (f"{kind} ({words.number(it.exit_kind)})", "bad" if bad else "")]
    lines: list[Line] = [head]
    late = any(section.startswith("scheduler") for section in report.read_late)
    for name, value in (("reason", it.reason), ("msg", it.message)):
        if value:
            note = " (read after the guest resumed)" if late else ""
            first, *rest = wrap(f"{clean(value)}{note}", max(20, width - 10))
            lines.append([(f"{_INDENT}{name:<8}", "dim"), (first, "strong")])
            lines += [[(" " * 10 + more, "strong")] for more in rest]
    lines += dump_brief(it.dump, width)
    pairs = [
        ("exit_code", it.exit_code, words.hexadecimal(it.exit_code)),
        ("aborting", it.aborting, str(it.aborting).lower()),
        ("bypass_depth", it.bypass_depth, words.number(it.bypass_depth)),
        ("watchdog_timeout", it.watchdog_timeout_ms, words.milliseconds(it.watchdog_timeout_ms)),
        ("enable_seq", it.enable_seq, words.number(it.enable_seq)),
        ("ops_flags", it.ops_flags, words.hexadecimal(it.ops_flags)),
    ]
    # A member that this kernel does not have is left out.
    lines += _rows(width, *((name, text) for name, value, text in pairs if value is not None))
    if it.event_counters:
        lines += _rows(width, *((clean(name), str(value)) for name, value in it.event_counters.items()))
    return lines


def _cpus_brief(report: CaptureReport, width: int) -> list[Line]:
    if not report.vcpus and not report.runqueues:
        reason = clean(
            report.unavailable.get("vcpus") or report.unavailable.get("runqueues") or "none recorded"
        )
        return [[(f"{_INDENT}{reason}", "warn")]]
    queues = {it.cpu: it for it in report.runqueues}
    vcpus = {it.cpu: it for it in report.vcpus}
    lines: list[Line] = []
    for number in sorted({*queues, *vcpus}):
        queue, vcpu = queues.get(number), vcpus.get(number)
        curr = (queue.curr if queue else None) or (vcpu.curr if vcpu else None)
        top = vcpu.stack.frames[0].symbol if vcpu and vcpu.stack and vcpu.stack.frames else None
        role = words.CLASS_ROLES.get(curr.sched_class, "") if curr else ""
        line: Line = [(f"{_INDENT}cpu {number:<3} ", "dim")]
        if queue is not None and queue.online is False:
            lines.append([*line, ("offline", "warn")])
            continue
        line.append((f"{words.task(curr.comm, curr.pid) if curr else ABSENT:<22} ", "strong"))
        line += [(f"{curr.sched_class if curr else ABSENT:<5} ", role)]
        line += [("nr_run=", "dim"), (f"{words.number(queue.nr_running if queue else None):<4}", "")]
        lines.append([*line, (cut(f" at {clean(top)}" if top else "", width - 49), "")])
    return lines


def _capture_info(report: CaptureReport, width: int) -> list[Line]:
    trigger = f"{clean(report.trigger)} {clean(report.trigger_detail)}".rstrip()
    rows = [
        ("trigger", trigger),
        ("pause", words.pause_parts(report.pause)),
        ("taken", clean(report.wall_time) or ABSENT),
        ("guest clock", ABSENT if report.guest_ns is None else f"{report.guest_ns / 1e9:.6f} s"),
        *_belongings(report),
    ]
    return [[(f"{_INDENT}{name:<12}", "dim"), (cut(value, width - 14), "")] for name, value in rows]


def _belongings(report: CaptureReport) -> list[tuple[str, str]]:
    """What only some captures have: a time in the scenario, statistics, an early capture."""
    rows = []
    if report.elapsed_ms is not None:
        due = report.boundary_offset_ms
        rows.append(
            (
                "scenario",
                f"at {report.elapsed_ms / 1000:.3f} s"
                + ("" if due is None else f", due at {due / 1000:.3f} s"),
            )
        )
    if report.scheduler_stats is not None:
        rows.append(("statistics", clean(str(report.scheduler_stats))))
    elif report.scheduler_stats_unavailable is not None:
        rows.append(("statistics", f"none: {clean(report.scheduler_stats_unavailable)}"))
    if report.early_tag is not None:
        rows.append(("early", f"{clean(report.early_tag)}, compared under 8"))
    elif report.early_skipped_reason is not None:
        rows.append(("early", f"none: {clean(report.early_skipped_reason)}"))
    return rows


def vcpus(report: CaptureReport, width: int) -> list[Line]:
    """Registers and stack of every vCPU."""
    lines = section_note(report, "vcpus")
    for it in report.vcpus:
        lines += [*vcpu_lines(it, width), []]
    return lines


def vcpu_lines(it: VcpuReport, width: int) -> list[Line]:
    """Registers and stack of one vCPU; of a capture that failed, the registers that came."""
    head: Line = [(f"CPU {it.cpu:<3} ", "head"), *_curr(it.curr)]
    known = [name for name in _REGISTERS if name in it.registers]
    known += [name for name in it.registers if name not in _REGISTERS]
    per_row = max(1, (width - 2) // 27)
    lines = [head]
    if it.unavailable:
        lines.append([(f"{_INDENT}unavailable: {clean(it.unavailable)}", "warn")])
    for begin in range(0, len(known), per_row):
        row: Line = [(_INDENT, "")]
        for name in known[begin : begin + per_row]:
            row += [(f"{clean(name):>8}=", "dim"), (f"{it.registers[name]:016x}", ""), ("  ", "")]
        lines.append(row)
    return lines if it.unavailable else [*lines, *stack_lines(it.stack, width)]


def _curr(curr: RunningTask | None) -> Line:
    if curr is None:
        return [("curr=", "dim"), (ABSENT, "strong")]
    role = words.CLASS_ROLES.get(curr.sched_class, "")
    behind = curr.ahead_of
    return [
        ("curr=", "dim"),
        (words.task(curr.comm, curr.pid), "strong"),
        (" class=", "dim"),
        (curr.sched_class, role),
        (f" ahead of {words.task(behind.comm, behind.pid)}" if behind is not None else "", ""),
    ]


def runqueues(report: CaptureReport, width: int) -> list[Line]:
    """The runqueue of every CPU, in the words of the dump."""
    names = {it.pid: it.comm for it in report.tasks}
    lines = section_note(report, "runqueues")
    for it in report.runqueues:
        lines += runqueue_lines(it, names, width)
    return lines


def runqueue_lines(it: RunqueueReport, names: dict[int, str], width: int) -> list[Line]:
    """The runqueue of one CPU; ``names`` are those of tasks by pid."""
    head: Line = [(f"CPU {it.cpu:<4}: ", "head")]
    if it.unavailable:
        return [[*head, (f"unavailable: {clean(it.unavailable)}", "warn")]]
    if it.online is False:
        head.append(("offline ", "warn"))
    first, *more = _rows(width - 8, *_runqueue_pairs(it))
    lines = [[*head, *first[1:]], *([(" " * 10, ""), *line[1:]] for line in more)]
    lines.append([(" " * 10, ""), *_curr(it.curr)])
    if it.running is not None:
        lines += [[(" " * 8, ""), *line] for line in _rows(width - 8, *_task_pairs(it.running))]
    waiting = " ".join(words.task(names.get(pid), pid) for pid in it.runnable_pids)
    if waiting:
        text = wrap(f"runnable_list: {waiting}", max(20, width - 10))
        lines += [[(" " * 10 + part, "")] for part in text]
    if it.runnable_truncated:
        lines.append([(" " * 10 + "… more (limit reached)", "warn")])
    return lines


def _runqueue_pairs(it: RunqueueReport) -> list[tuple[str, str]]:
    """What is known of a runqueue; members that this kernel does not have are left out."""
    flags = words.hexadecimal(it.flags)
    named = f"{flags} {'|'.join(it.flag_names)}" if it.flag_names else flags
    pairs = (
        ("nr_run", it.nr_running, words.number(it.nr_running)),
        ("scx", it.scx_nr_running, words.number(it.scx_nr_running)),
        ("flags", it.flags, clean(named)),
        ("cpu_rel", it.cpu_released, str(int(it.cpu_released or 0))),
        ("ops_qseq", it.ops_qseq, words.number(it.ops_qseq)),
        ("kick_sync", it.kick_sync, words.number(it.kick_sync)),
        ("nr_immed", it.nr_immed, words.number(it.nr_immed)),
        ("local_dsq", it.local_dsq_nr, words.number(it.local_dsq_nr)),
        ("tick", it.tick_stopped, "stopped" if it.tick_stopped else "on"),
    )
    return [(name, text) for name, value, text in pairs if value is not None]


def _dsq_head(it: DsqReport) -> Line:
    line: Line = [(f"{_INDENT}{clean(it.label):<18}", "strong" if it.nr else "dim"), (f"nr={it.nr:<5}", "")]
    origin = "" if it.label.startswith(it.origin) else f" {clean(it.origin)}"
    return [*line, (origin, "dim"), (f" seq={it.seq}" if it.seq is not None else "", "dim")]


def dsqs(report: CaptureReport, width: int) -> list[Line]:
    """The dispatch queues and the tasks in them, first in line first."""
    names = {it.pid: it.comm for it in report.tasks}
    lines = section_note(report, "dsqs")
    for it in report.dsqs:
        lines.append(_dsq_head(it))
        text = " → ".join(words.task(names.get(pid), pid) for pid in it.pids)
        lines += [[(f"      {part}", "")] for part in wrap(text, max(20, width - 6)) if part]
        if it.truncated:
            lines.append([("      … more (limit reached)", "warn")])
    return lines


def dmesg(report: CaptureReport, width: int) -> list[Line]:
    """The end of the kernel's log, and the kernel's debug dump."""
    lines = section_note(report, "dmesg_tail")
    for text in report.dmesg_tail:
        loud = "sched_ext" in text or "BUG" in text or "Call Trace" in text
        lines += [[(part, "warn" if loud else "")] for part in hard_wrap(clean(text), width)]
    if report.scheduler is not None and report.scheduler.dump:
        notes_of_it = section_note(report, "scheduler.dump")
        lines += kernel_dump(report.scheduler.dump, notes_of_it, width)
    return lines
