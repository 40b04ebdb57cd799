"""What led to a stop: from the kernel's trace, which is read after the thaw up to the stop.

While the guest is frozen, only the time of each CPU's last event is copied, a few words. Later events are left out by
it. What was overwritten between the thaw and the reading is missing at the old end, and counted.

How exact is this? The stop is where `kernel.trace.clock` says that the trace's clock was.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ktstr_tui.capture.report.raw import RawCapture, RawTask, Stop
from ktstr_tui.history.blocks import block_of_trace
from ktstr_tui.history.past import Past, Waiter
from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.trace.clock import trace_now_ns
from ktstr_tui.kernel.trace.reader import Trace, TraceReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.cause import cause_of
from ktstr_tui.model.history import History
from ktstr_tui.model.report import CaptureReport

SECTION: Final = "history"
LATE: Final = "the kernel's trace was read after the thaw, up to the stop"
_LEAST_S, _MOST_S, _BEFORE_S = 5.0, 120.0, 2.0
"""How far back is read: past the begin of the longest wait."""
_MAX_PAGES: Final = 4096
"""Of all CPUs together: 16 MiB, about 300,000 events."""
_NOTHING: Final = "the kernel recorded nothing (it does with: run --trace sched)"


def mark_stop(view: KernelView, space: AddressSpace, raw: RawCapture) -> Stop | None:
    """Note where the trace is; called while the guest is frozen. None where there is no trace."""
    if not isinstance(view.trace, TraceReader):
        return None
    last_ns = view.trace.last_ns(space)
    clocks = [one.rq["clock"] for one in raw.cpus if one.rq is not None]
    return Stop(last_ns, trace_now_ns(view.symbols, space, last_ns, clocks))


def read_past(raw: RawCapture, view: KernelView, unavailable: dict[str, str]) -> Trace | None:
    """Read the trace up to the stop, soon after the thaw."""
    reader = view.trace
    if not isinstance(reader, TraceReader) or raw.stop is None:
        unavailable[SECTION] = reader if isinstance(reader, str) else "the trace could not be found"
        return None
    longest_s = max((task.age_ms for task in raw.tasks), default=0.0) / 1e3
    back_s = min(_MOST_S, max(_LEAST_S, longest_s + _BEFORE_S))
    since_ns = max(0, raw.stop.now_ns - int(back_s * 1e9))
    pages = max(4, _MAX_PAGES // max(1, view.nr_cpus))
    trace = reader.read(raw.stop.last_ns, since_ns=since_ns, max_pages=pages)
    reason = trace.unavailable
    if reason is None and not any(it.events or it.unavailable for it in trace.cpus):
        reason = _NOTHING
    if reason is not None:
        unavailable[SECTION] = reason
        return None
    return trace


def with_history(report: CaptureReport, raw: RawCapture, trace: Trace | None) -> CaptureReport:
    """Add what a trace says to a report."""
    if trace is None or raw.stop is None:
        return report
    current = {one.cpu: (one.pid, one.comm) for one in (it.curr for it in report.vcpus) if one is not None}
    past = Past(trace, raw.stop.now_ns, current)
    block = block_of_trace(trace, raw.stop.now_ns, report.mono_ns)
    history: History = msgspec.structs.replace(past.history(_waiter(report, raw)), block=block)
    late = {**report.read_late, SECTION: LATE}
    return msgspec.structs.replace(report, history=history, read_late=late)


def _waiter(report: CaptureReport, raw: RawCapture) -> Waiter | None:
    """The task that the kernel names, if it waits; else the one that waits longest."""
    cause = cause_of(report)
    named = None if cause is None or cause.task is None or cause.task.on_cpu else cause.task
    task = named or (report.tasks[0] if report.stalled is not None else None)
    found = next((it for it in raw.tasks if task is not None and it.row["pid"] == task.pid), None)
    if task is None or found is None:
        return None
    kind, cpu = _dsq_kind(found, raw)
    online = frozenset(one.cpu for one in raw.cpus if one.online)
    return Waiter(
        pid=task.pid,
        comm=task.comm,
        age_ms=found.age_ms,
        allowed=frozenset(cpu for cpu in online if found.allowed >> cpu & 1),
        place=found.dsq,
        dsq_id=found.dsq_id,
        dsq_kind=kind,
        dsq_cpu=cpu,
        held=found.dsq is None and task.ops_state_name == "QUEUED",
    )


def _dsq_kind(task: RawTask, raw: RawCapture) -> tuple[Literal["user", "local", "other"], int | None]:
    origin = next((it.ref.origin for it in raw.dsqs if it.ref.label == task.dsq), "")
    if origin == "user":
        return "user", None
    words = origin.split(" ")
    if len(words) == 3 and words[0] in ("local", "bypass") and words[2].isdigit():
        return "local", int(words[2])
    return "other", None
