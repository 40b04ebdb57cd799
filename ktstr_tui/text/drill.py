"""From a CPU to its tasks, from a task to its queue, from a queue to the CPUs that may take from it, and on.

A *scene* is one moment of tasks, queues and CPUs: the newest that is known of a run, or that of a capture. A place is
something in it; its page is a list of lines, of which some lead to another place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias

from ktstr_tui.model.report import CaptureReport, TaskReport
from ktstr_tui.model.state import RunState
from ktstr_tui.model.tasks import ListedTask, TaskLine, TaskList, task_table
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean
from ktstr_tui.text.task_table import COLUMNS, MEANINGS, doing

_NAME = 18
_ORDER = {name: number for number, name in enumerate(MEANINGS)}


class Place(NamedTuple):
    """Something that has a page."""

    kind: Literal["cpu", "task", "dsq"]
    number: int = 0
    """Of the CPU, or the pid."""
    label: str = ""
    """Of the DSQ."""

    @property
    def title(self) -> str:
        """What it is called in a trail of places."""
        match self.kind:
            case "cpu":
                return f"vCPU {self.number}"
            case "dsq":
                return f"DSQ {clean(self.label)}"
        return f"task {self.number}"


Step: TypeAlias = tuple[Line, Place | None]
"""A line, and where Enter on it leads."""


class Runs(NamedTuple):
    """What a CPU runs."""

    pid: int | None
    comm: str | None
    sched_class: str | None
    idle: bool


class Scene(NamedTuple):
    """One moment."""

    tasks: Mapping[int, TaskLine]
    cpus: Mapping[int, Runs | None]
    """None where it is not known, or the CPU is offline."""
    dsqs: Mapping[str, int]
    """Label of each queue, and how many tasks are in it."""
    whole: bool
    """Whether all tasks are known, or only those that run or wait."""


def scene_of(state: RunState) -> Scene:
    """The newest moment that is known of a run."""
    listed = state.task_list
    tasks = {it.pid: it for it in task_table(listed or TaskList(), state.task_rates)}
    cpus: dict[int, Runs | None] = {}
    for number, cpu in state.cpus.items():
        it = cpu.latest
        known = not it.is_offline and it.curr_pid is not None
        cpus[number] = Runs(it.curr_pid, it.curr_comm, it.curr_class, bool(it.idle)) if known else None
    queues = state.scheduler.dsqs if state.scheduler is not None else ()
    return Scene(tasks, cpus, {it.label: it.nr for it in queues}, listed is not None)


def scene_of_capture(report: CaptureReport) -> Scene:
    """The moment of a capture, which has the tasks that run or wait."""
    tasks = {it.pid: _line_of(it) for it in report.tasks}
    cpus: dict[int, Runs | None] = {it.cpu: None for it in report.vcpus}
    for queue in report.runqueues:
        curr = queue.curr
        if queue.running is not None:
            tasks.setdefault(queue.running.pid, _line_of(queue.running))
        cpus[queue.cpu] = (
            None if curr is None else Runs(curr.pid, curr.comm, curr.sched_class, curr.sched_class == "idle")
        )
    return Scene(tasks, cpus, {it.label: it.nr for it in report.dsqs}, whole=False)


def _line_of(it: TaskReport) -> TaskLine:
    listed = ListedTask(
        pid=it.pid, comm=it.comm, tgid=it.tgid, state=it.state, sched_class=it.sched_class, policy=it.policy,
        nice=it.nice, cpu=it.cpu, allowed=it.cpus_allowed, on_cpu=it.on_cpu, is_waiting=not it.on_cpu, dsq=it.dsq,
        held=not it.on_cpu and it.dsq is None and it.ops_state_name == "QUEUED",
        age_ms=None if it.on_cpu else it.age_ms,
    )  # fmt: skip
    return TaskLine(it.pid, it.comm, listed, None)


def page(scene: Scene, place: Place) -> list[Step]:
    """The page of a place."""
    match place.kind:
        case "cpu":
            return cpu_steps(scene, place.number)
        case "dsq":
            return _dsq_page(scene, place.label)
    return _task_page(scene, place.number)


def cpu_steps(scene: Scene, number: int) -> list[Step]:
    """What a CPU runs, and what waits on its runqueue, longest first."""
    runs = scene.cpus.get(number)
    steps: list[Step] = [_heading("runs")]
    steps.append(_runs(number, runs) if runs is not None else ([("  nothing is known", "dim")], None))
    waiting = [it for it in _waiting(scene) if it.cpu == number]
    remark = f"  {counted(len(waiting), 'task')}, longest first" if waiting else "  no task"
    return [*steps, ([], None), _heading("waits on its runqueue", remark), *map(_task, waiting)]


def _dsq_page(scene: Scene, label: str) -> list[Step]:
    inside = [it for it in _waiting(scene) if it.listed is not None and it.listed.dsq == label]
    nr = scene.dsqs.get(label)
    count = "not in the newest sample" if nr is None else f"nr {nr}"
    steps: list[Step] = [_heading("tasks in it", f"  {count}, longest waiting first")]
    steps += map(_task, inside)
    if not inside:
        steps.append(([("  no task", "dim")], None))
    allowed = sorted({cpu for it in inside if it.listed is not None for cpu in cpus_of(it.listed.allowed)})
    steps += [([], None), _heading("CPUs that may run a task of it")]
    return steps + _cpus(scene, allowed)


def _task_page(scene: Scene, pid: int) -> list[Step]:
    it = scene.tasks.get(pid)
    if it is None:
        return [
            (
                [("This task neither runs nor waits." if not scene.whole else "This task is gone.", "dim")],
                None,
            )
        ]
    facts: list[Step] = [_fact("task", words.task(it.comm, it.pid), "strong"), _fact("does", doing(it), "")]
    shown = [one for one in COLUMNS if one.name not in ("task", "dsq", "S")]
    shown.sort(key=lambda one: _ORDER.get(one.name, -1))
    for one in shown:
        line, place = _fact(one.name, one.text(it), one.role(it))
        meaning = MEANINGS.get(one.name, "")
        facts.append(([*line, (f"{' ' * max(2, 10 - len(one.text(it)))}{meaning}", "dim")], place))
    listed = it.listed
    steps = [step for step in facts if ABSENT not in step[0][1][0]]
    if listed is None:
        return steps
    steps += [([], None), _heading("its queue"), _queue(listed)]
    steps += [([], None), _heading("CPUs that it may use")]
    return steps + _cpus(scene, cpus_of(listed.allowed))


def _queue(it: ListedTask) -> Step:
    if it.dsq is not None:
        return [("  DSQ ", "dim"), (clean(it.dsq), "strong")], Place("dsq", label=it.dsq)
    if it.held:
        return [("  held by the BPF scheduler, in no DSQ", "warn")], None
    where = f"runqueue of cpu {it.cpu}" if it.is_waiting or it.on_cpu else "in none: it does not want to run"
    return [(f"  {where}", "")], Place("cpu", it.cpu) if it.is_waiting or it.on_cpu else None


def _cpus(scene: Scene, numbers: Iterable[int]) -> list[Step]:
    found: list[Step] = []
    for number in numbers:
        if number in scene.cpus:
            runs = scene.cpus[number]
            line: Line = [(f"  cpu {number:<3} ", "strong")]
            if runs is None:
                line.append(("offline, or not known", "dim"))
            else:
                line.append(
                    (_words(runs), "dim" if runs.idle else words.CLASS_ROLES.get(runs.sched_class or "", ""))
                )
            found.append((line, Place("cpu", number)))
    return found or [([("  none is known", "dim")], None)]


def _runs(number: int, runs: Runs) -> Step:
    line: Line = [(f"  {_words(runs)}", "dim" if runs.idle else "strong")]
    return line, None if runs.idle or not runs.pid else Place("task", runs.pid)


def _words(runs: Runs) -> str:
    if runs.idle:
        return "idle"
    return f"{words.task(runs.comm, runs.pid)} ({runs.sched_class or ABSENT})"


def _task(it: TaskLine) -> Step:
    listed = it.listed
    place = ABSENT if listed is None else "held" if listed.held else clean(listed.dsq or ABSENT)
    age = words.milliseconds(None if listed is None else listed.age_ms)
    line: Line = [
        (f"  {words.task(it.comm, it.pid):24}", "strong"),
        (f" {age:>8}", ""),
        (f"  {place:12}", ""),
    ]
    line.append((f" allowed {listed.allowed if listed is not None else ABSENT}", "dim"))
    return line, Place("task", it.pid)


def _waiting(scene: Scene) -> list[TaskLine]:
    found = [it for it in scene.tasks.values() if it.listed is not None and it.listed.is_waiting]
    return sorted(found, key=lambda it: -((it.listed.age_ms if it.listed else None) or 0.0))


def _heading(text: str, remark: str = "") -> Step:
    return [(text, "head"), (remark, "dim")], None


def _fact(name: str, text: str, role: str) -> Step:
    return [(f"  {name:<{_NAME}} ", "dim"), (text, role)], None


def cpus_of(allowed: str) -> list[int]:
    """The CPUs of a list as the kernel prints it, ``0-3,8``; of what is no such list nothing."""
    found: list[int] = []
    for part in allowed.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found += range(int(first), min(int(last or first), int(first) + 4096) + 1)
    return found
