"""Values in words: durations, ages, queues and the sentences a scheduler developer looks for.

The vocabulary is that of the kernel's own debug dump. None is always ``–``, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from ktstr_tui.model.report import SLICE_INF, Argument, CaptureReport, Pause, RunningTask, TaskReport
from ktstr_tui.model.running import running_words
from ktstr_tui.model.sample import CpuSample, RunnableTask
from ktstr_tui.model.text import runnable_for
from ktstr_tui.text.plain import ABSENT, clean

CLASS_ROLES = {"ext": "ext", "fair": "fair", "rt": "rt", "dl": "dl", "stop": "stop", "idle": "dim"}
"""The role that colours a scheduling class."""
_ON_ITS_WAY = {"QUEUEING": "being enqueued", "DISPATCHING": "being dispatched"}


def number(value: int | None) -> str:
    """An integer, short enough for a column."""
    if value is None:
        return ABSENT
    if abs(value) < 100_000:
        return str(value)
    for limit, unit in ((1e6, "k"), (1e9, "M"), (1e12, "G")):
        if abs(value) < limit:
            return f"{value / limit * 1000:.1f}{unit}"
    return f"{value:.1e}"


def hexadecimal(value: int | None) -> str:
    """A flags word."""
    return ABSENT if value is None else f"{value:#x}"


def size(count: int | None) -> str:
    """A number of bytes."""
    if count is None:
        return ABSENT
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def milliseconds(value_ms: float | None) -> str:
    """A duration with two or three significant digits."""
    if value_ms is None:
        return ABSENT
    if value_ms < 1:
        return f"{value_ms * 1000:.0f} µs"
    if value_ms < 10:
        return f"{value_ms:.1f} ms"
    if value_ms < 1000:
        return f"{value_ms:.0f} ms"
    return seconds(value_ms / 1000)


def seconds(value_s: float) -> str:
    """A duration of a second or more."""
    if value_s < 60:
        return f"{value_s:.1f} s"
    whole = int(value_s)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def microseconds(value_us: float | None) -> str:
    """A duration that was measured in microseconds."""
    return ABSENT if value_us is None else milliseconds(value_us / 1000)


def window(ages_ms: tuple[float, float] | None) -> str:
    """From when to when the kernel ejects: ``3.0 to 4.5 s``."""
    if ages_ms is None:
        return ABSENT
    first, last = (milliseconds(age_ms) for age_ms in ages_ms)
    number, _, unit = first.partition(" ")
    return f"{number} to {last}" if last.endswith(f" {unit}") else f"{first} to {last}"


def uptime(value_ns: int) -> str:
    """Time since the start of a run: ``01:05`` or ``2:01:05``."""
    whole = max(0, value_ns) // 1_000_000_000
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}"
    return f"{hours}:{clock}" if hours else clock


def offset(mono_ns: int, start_ns: int) -> str:
    """Seconds since the start of the run, for the log."""
    return f"{max(0, mono_ns - start_ns) / 1e9:9.3f}"


def task(comm: str | None, pid: int | None) -> str:
    """``comm[pid]`` as the kernel's dump writes it."""
    if comm is None and pid is None:
        return ABSENT
    return f"{clean(comm) if comm is not None else '?'}[{ABSENT if pid is None else pid}]"


def queue(dsq: str | None) -> str:
    """Where a task waits, as a phrase."""
    if dsq is None:
        return "in no DSQ"
    return f"in DSQ {clean(dsq)}"


def clock_age_ms(cpu: CpuSample, newest_ns: int | None) -> float | None:
    """How far a CPU's ``rq->clock`` is behind the newest one of the sample."""
    if cpu.rq_clock_ns is None or newest_ns is None:
        return None
    return max(0, newest_ns - cpu.rq_clock_ns) / 1e6


def slice_left(slice_ns: int | None) -> str:
    """What is left of a slice."""
    if slice_ns is None:
        return ABSENT
    return "infinite" if slice_ns == SLICE_INF else milliseconds(slice_ns / 1e6)


def running(where: tuple[RunningTask, ...]) -> str:
    """What runs on some CPUs: ``cpu 0 kworker/0:1[11] (fair), cpu 1 idle``."""
    return ", ".join(_running(it) for it in where) if where else "not known"


def _running(it: RunningTask) -> str:
    if it.offline:
        return f"cpu {it.cpu} offline"
    if it.sched_class == "idle":
        return f"cpu {it.cpu} idle"
    return f"cpu {it.cpu} {running_words(it)}"


def where(it: TaskReport) -> str:
    """Where a task is, as a phrase: in a DSQ, with the BPF scheduler, or on its way between them."""
    if it.dsq is None and it.ops_state_name == "QUEUED":
        number = "" if it.ops_qseq is None else f" (qseq {it.ops_qseq})"
        whose = "" if it.sub is None else f" of {clean(it.sub)}"
        return f"held by the BPF scheduler{whose}{number}, in no DSQ"
    return on_its_way(it) or queue(it.dsq)


def on_its_way(it: TaskReport) -> str:
    """What the kernel does with a task that is in no DSQ at the moment; empty when nothing."""
    return _ON_ITS_WAY.get(it.ops_state_name or "", "") if it.dsq is None else ""


def waiting(oldest: RunnableTask) -> str:
    """One line on the task that waits longest."""
    return f"{runnable_for(oldest.comm, oldest.pid, oldest.age_ms)} {clean(oldest.place)}"


def stalled_task(report: CaptureReport) -> TaskReport | None:
    """The full record of a report's stalled task."""
    stalled = report.stalled
    if stalled is None:
        return None
    return next((it for it in report.tasks if it.pid == stalled.pid), None)


def pause_parts(pause: Pause | None) -> str:
    """How long the guest stood still, and where the time went."""
    if pause is None:
        return "pause not measured"
    named = (
        ("stop", pause.stop_us),
        ("registers", pause.registers_us),
        ("memory", pause.memory_us),
        ("snapshot", pause.snapshot_us),
        ("resume", pause.resume_us),
    )
    parts = [f"{name} {microseconds(value)}" for name, value in named if value is not None]
    inside = f" ({' · '.join(parts)})" if parts else ""
    return f"paused {microseconds(pause.total_us)}{inside}"


def call(arguments: Iterable[Argument]) -> str:
    """What a function was called with: ``(p=spin-0[105], dsq_id=7 (0x7))``."""
    return "(" + ", ".join(f"{clean(it.name) or '?'}={clean(it.value)}" for it in arguments) + ")"
