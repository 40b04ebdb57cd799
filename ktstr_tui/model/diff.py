"""The difference of two captures: what moved between them, and what stood.

In a stall most of a machine stands, so what did *not* change is half of the answer: a task that is in both
captures and grew older by the whole time between them has not run at all. Tasks are matched by pid, queues by
id and label, counters by name, map values by their place in the map.

A section that one of the two could not read is not compared, and a section that was cut may lack what is only
cut off; ``notes`` says so in either case. Nothing here ever means "unchanged" for "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from ktstr_tui.model.report import CaptureReport, DsqReport, MapReport, RunqueueReport, TaskReport

MAX_VALUES = 256
"""Changed values told of one map."""
_MAX_DEPTH = 40
_STARVED_SHARE = 0.9
"""Of the time between two captures that a task has to grow older by."""
_SEQ_MODULUS = 1 << 32
"""``dsq->seq`` is a u32."""

Presence: TypeAlias = Literal["both", "new", "gone", "unknown"]
"""``unknown``: in one of the two, and the other one's list was cut, so it may have been there as well."""
_K = TypeVar("_K")
_V = TypeVar("_V")


class TaskDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One task that was runnable in one of the captures, or in both."""

    pid: int
    comm: str
    presence: Presence
    age_before_ms: float | None = None
    age_after_ms: float | None = None
    growth_ms: float | None = None
    """How much longer it has waited; None unless both ages are known."""
    starved: bool = False
    """It waited all the time between the captures, without a turn."""
    dsq_before: str | None = None
    dsq_after: str | None = None
    cpu_before: int | None = None
    cpu_after: int | None = None


class QueueDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch queue whose depth or order changed, or that stayed filled."""

    id: int
    label: str
    origin: str
    presence: Presence
    nr_before: int | None = None
    nr_after: int | None = None
    moved: int | None = None
    """How far ``dsq->seq`` advanced, which counts inserted tasks; None unless both are known."""
    left: int = 0
    """Tasks of the first capture that are no longer in it."""
    joined: int = 0


class CpuDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One CPU: what it ran and how much was waiting."""

    cpu: int
    curr_before: str | None = None
    curr_after: str | None = None
    nr_running_before: int | None = None
    nr_running_after: int | None = None
    local_dsq_before: int | None = None
    local_dsq_after: int | None = None
    clock_ns: int | None = None
    """How far ``rq->clock`` advanced; 0 for a CPU whose clock did not."""


class ValueDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One value that changed, appeared or went."""

    name: str
    before: Any = None
    after: Any = None
    delta: int | float | None = None
    """For numbers that were in both."""


class MapDiff(msgspec.Struct, frozen=True, kw_only=True):
    """One BPF map with at least one change."""

    id: int
    name: str
    map_type: str
    presence: Presence
    values: tuple[ValueDiff, ...] = ()
    truncated: bool = False
    """More than `MAX_VALUES` values changed."""


class ReportDiff(msgspec.Struct, frozen=True, kw_only=True):
    """All differences of two captures, the later one second."""

    before: str
    """Tag of the first."""
    after: str
    between_ms: float | None = None
    """Host time between the two stops."""
    tasks: tuple[TaskDiff, ...] = ()
    """Those in both first, by how long they waited in the second; then new ones, then those that are gone."""
    queues: tuple[QueueDiff, ...] = ()
    cpus: tuple[CpuDiff, ...] = ()
    scheduler: tuple[ValueDiff, ...] = ()
    """Changed fields of the scheduler."""
    counters: tuple[ValueDiff, ...] = ()
    """Event counters that moved."""
    stats: tuple[ValueDiff, ...] = ()
    """Changed values of the scheduler's own statistics."""
    maps: tuple[MapDiff, ...] = ()
    notes: dict[str, str] = {}
    """Section to why it was not, or not wholly, compared."""


def diff_reports(before: CaptureReport, after: CaptureReport) -> ReportDiff:
    """Compare two captures; never raises for what they hold.

    Args:
        before: The earlier one.
        after: The later one.
    """
    notes = dict(_notes(before, after))
    between_ms = (after.mono_ns - before.mono_ns) / 1e6 if before.mono_ns and after.mono_ns else None

    def comparable(section: str) -> bool:
        return not notes.get(section, "").startswith("not compared")

    return ReportDiff(
        before=before.tag,
        after=after.tag,
        between_ms=between_ms,
        tasks=_tasks(before, after) if comparable("tasks") else (),
        queues=_queues(before, after) if comparable("dsqs") else (),
        cpus=_cpus(before, after) if comparable("runqueues") else (),
        scheduler=_scheduler(before, after) if comparable("scheduler") else (),
        counters=_counters(before, after) if comparable("scheduler") else (),
        stats=_stats(before, after),
        maps=_maps(before, after) if comparable("maps") else (),
        notes=notes,
    )


def _notes(before: CaptureReport, after: CaptureReport) -> Iterator[tuple[str, str]]:
    for section in ("scheduler", "runqueues", "tasks", "dsqs", "maps"):
        for report in (before, after):
            if report.is_placeholder or section in report.unavailable:
                reason = report.unavailable.get(section, "the capture failed")
                yield section, f"not compared: unavailable in {report.tag}: {reason}"
                break
        else:
            cut = [report for report in (before, after) if section in report.truncated]
            if cut:
                yield section, f"incomplete in {cut[0].tag}: {cut[0].truncated[section]}"
    names = [report.scheduler.name if report.scheduler else None for report in (before, after)]
    if names[0] != names[1] and all(names):
        yield "schedulers", f"two different schedulers: {names[0]} and {names[1]}"


def _pairs(
    before: Mapping[_K, _V], after: Mapping[_K, _V]
) -> Iterator[tuple[_K, _V | None, _V | None, Presence]]:
    for key, value in after.items():
        yield key, before.get(key), value, "both" if key in before else "new"
    for key, value in before.items():
        if key not in after:
            yield key, value, None, "gone"


def _tasks(before: CaptureReport, after: CaptureReport) -> tuple[TaskDiff, ...]:
    old, new = ({task.pid: task for task in report.tasks} for report in (before, after))
    elapsed_ms = _guest_ms(before, after)
    sure = _sure(before, after, "tasks")
    found = [_task(pid, a, b, sure(presence), elapsed_ms) for pid, a, b, presence in _pairs(old, new)]
    order = {"both": 0, "new": 1, "gone": 2, "unknown": 3}
    return tuple(
        sorted(found, key=lambda it: (order[it.presence], -(it.age_after_ms or it.age_before_ms or 0.0)))
    )


def _guest_ms(before: CaptureReport, after: CaptureReport) -> float:
    # Ages grow by the guest's clock, which stands while the guest does.
    if before.guest_ns is not None and after.guest_ns is not None:
        return (after.guest_ns - before.guest_ns) / 1e6
    return (after.mono_ns - before.mono_ns) / 1e6


def _task(
    pid: int, before: TaskReport | None, after: TaskReport | None, presence: Presence, elapsed_ms: float
) -> TaskDiff:
    latest = after or before
    age_before, age_after = before.age_ms if before else None, after.age_ms if after else None
    growth = None if age_before is None or age_after is None else age_after - age_before
    waiting = before is not None and after is not None and not before.on_cpu and not after.on_cpu
    return TaskDiff(
        pid=pid,
        comm=latest.comm if latest else "",
        presence=presence,
        age_before_ms=age_before,
        age_after_ms=age_after,
        growth_ms=growth,
        # After a turn in between, its age would have started again. The clocks compared are a tick or two apart.
        starved=waiting and growth is not None and 0 < _STARVED_SHARE * elapsed_ms <= growth,
        dsq_before=before.dsq if before else None,
        dsq_after=after.dsq if after else None,
        cpu_before=before.cpu if before else None,
        cpu_after=after.cpu if after else None,
    )


def _queues(before: CaptureReport, after: CaptureReport) -> tuple[QueueDiff, ...]:
    old, new = ({(dsq.id, dsq.label): dsq for dsq in report.dsqs} for report in (before, after))
    sure = _sure(before, after, "dsqs")
    found = (_queue(a, b, sure(presence)) for _, a, b, presence in _pairs(old, new))
    return tuple(it for it in found if it is not None)


def _sure(before: CaptureReport, after: CaptureReport, section: str) -> Callable[[Presence], Presence]:
    """Return what turns ``new`` and ``gone`` into ``unknown`` where the other capture's list was cut."""
    cut = {"new": section in before.truncated, "gone": section in after.truncated}
    return lambda presence: "unknown" if cut.get(presence) else presence


def _queue(before: DsqReport | None, after: DsqReport | None, presence: Presence) -> QueueDiff | None:
    latest = after or before
    if latest is None:
        return None
    pids = [set(dsq.pids) if dsq else set() for dsq in (before, after)]
    seqs = [dsq.seq if dsq else None for dsq in (before, after)]
    found = QueueDiff(
        id=latest.id,
        label=latest.label,
        origin=latest.origin,
        presence=presence,
        nr_before=before.nr if before else None,
        nr_after=after.nr if after else None,
        moved=_advance(*seqs),
        left=len(pids[0] - pids[1]),
        joined=len(pids[1] - pids[0]),
    )
    silent = not found.nr_before and not found.nr_after and not found.moved
    return None if silent and presence == "both" else found


def _advance(before: int | None, after: int | None) -> int | None:
    """How far a u32 went on; one that went back is of another queue, as that of another run is."""
    if before is None or after is None:
        return None
    moved = (after - before) % _SEQ_MODULUS
    return moved if moved < _SEQ_MODULUS // 2 else None


def _cpus(before: CaptureReport, after: CaptureReport) -> tuple[CpuDiff, ...]:
    old, new = ({rq.cpu: rq for rq in report.runqueues} for report in (before, after))
    return tuple(
        CpuDiff(
            cpu=cpu,
            curr_before=_curr(a),
            curr_after=_curr(b),
            nr_running_before=a.nr_running,
            nr_running_after=b.nr_running,
            local_dsq_before=a.local_dsq_nr,
            local_dsq_after=b.local_dsq_nr,
            clock_ns=None
            if a.rq_clock_ns is None or b.rq_clock_ns is None
            else b.rq_clock_ns - a.rq_clock_ns,
        )
        for cpu, a, b, _ in _pairs(old, new)
        if a is not None and b is not None and a.unavailable is None and b.unavailable is None
    )


def _curr(queue: RunqueueReport) -> str | None:
    return f"{queue.curr.comm}[{queue.curr.pid}]" if queue.curr else None


def _scheduler(before: CaptureReport, after: CaptureReport) -> tuple[ValueDiff, ...]:
    fields = [
        {
            name: value
            for name, value in msgspec.structs.asdict(report.scheduler).items()
            if name != "event_counters"
        }
        if report.scheduler
        else {}
        for report in (before, after)
    ]
    return tuple(_values("", fields[0], fields[1]))


def _counters(before: CaptureReport, after: CaptureReport) -> tuple[ValueDiff, ...]:
    counters = [report.scheduler.event_counters if report.scheduler else None for report in (before, after)]
    if counters[0] is None or counters[1] is None:
        return ()
    return tuple(_values("", counters[0], counters[1]))


def _stats(before: CaptureReport, after: CaptureReport) -> tuple[ValueDiff, ...]:
    if before.scheduler_stats is None or after.scheduler_stats is None:
        return ()
    return tuple(_values("", before.scheduler_stats, after.scheduler_stats))[:MAX_VALUES]


def _maps(before: CaptureReport, after: CaptureReport) -> tuple[MapDiff, ...]:
    old, new = ({(it.id, it.name): it for it in report.maps} for report in (before, after))
    sure = _sure(before, after, "maps")
    found = (_map(a, b, sure(presence)) for _, a, b, presence in _pairs(old, new))
    return tuple(it for it in found if it is not None)


def _map(before: MapReport | None, after: MapReport | None, presence: Presence) -> MapDiff | None:
    latest = after or before
    if latest is None or presence == "unknown":
        return None
    values: list[ValueDiff] = []
    if before is not None and after is not None:
        if before.error is not None or after.error is not None:
            return None
        old, new = _by_key(before), _by_key(after)
        if before.truncated or after.truncated:
            # An entry of only one of them may have been cut off in the other.
            old, new = {k: v for k, v in old.items() if k in new}, {k: v for k, v in new.items() if k in old}
        for value in _values("", old, new):
            values.append(value)
            if len(values) > MAX_VALUES:
                break
    if presence == "both" and not values:
        return None
    return MapDiff(
        id=latest.id,
        name=latest.name,
        map_type=latest.map_type,
        presence=presence,
        values=tuple(values[:MAX_VALUES]),
        truncated=len(values) > MAX_VALUES,
    )


def _by_key(report: MapReport) -> dict[str, Any]:
    return {**report.state, **_entries_by_key(report)}


def _entries_by_key(report: MapReport) -> dict[str, Any]:
    # Global data is a single value under key 0: its members are known by their own names.
    if report.max_entries == 1 and len(report.entries) == 1:
        return {"": report.entries[0].value}
    return {f"[{_short(entry.key)}]": entry.value for entry in report.entries}


def _short(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()


def _values(name: str, before: object, after: object, depth: int = 0) -> Iterator[ValueDiff]:
    """Changed values inside two values, by name."""
    if type(before) is type(after) and before == after:
        return
    if depth < _MAX_DEPTH:
        if isinstance(before, dict) and isinstance(after, dict):
            for key, a, b, presence in _pairs(before, after):
                inner = _member(name, str(key))
                if presence == "both":
                    yield from _values(inner, a, b, depth + 1)
                else:
                    yield ValueDiff(name=inner, before=a, after=b)
            return
        if isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
            for index, (a, b) in enumerate(zip(before, after, strict=True)):
                yield from _values(f"{name}[{index}]", a, b, depth + 1)
            return
    yield ValueDiff(name=name, before=before, after=after, delta=_delta(before, after))


def _member(name: str, key: str) -> str:
    return f"{name}.{key}" if name and key and not key.startswith("[") else name + key


def _delta(before: object, after: object) -> int | float | None:
    if isinstance(before, bool) or isinstance(after, bool):
        return None
    if isinstance(before, int | float) and isinstance(after, int | float):
        return after - before
    return None
