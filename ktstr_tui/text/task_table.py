"""The columns of the list of tasks: the kernel's own list first, then what its trace says of the last second or so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ktstr_tui.model.rates import TaskRate
from ktstr_tui.model.tasks import ListedTask, TaskLine
from ktstr_tui.text import words
from ktstr_tui.text.plain import ABSENT, clean
from ktstr_tui.text.table import Column


def _rate(take: Callable[[TaskRate], float | None]) -> Callable[[TaskLine], float | None]:
    """Sort by a number of the trace, the largest first."""

    def key(it: TaskLine) -> float | None:
        found = None if it.rate is None else take(it.rate)
        return None if found is None else -found

    return key


def _ms(take: Callable[[TaskRate], float | None]) -> Callable[[TaskLine], str]:
    return lambda it: words.milliseconds(None if it.rate is None else take(it.rate))


def _count(take: Callable[[TaskRate], int]) -> Callable[[TaskLine], str]:
    return lambda it: ABSENT if it.rate is None else words.number(take(it.rate))


def _of_list(
    take: Callable[[ListedTask], str | int | float | None],
) -> Callable[[TaskLine], str | int | float | None]:
    return lambda it: None if it.listed is None else take(it.listed)


def _word(take: Callable[[ListedTask], str | int | None]) -> Callable[[TaskLine], str]:
    def text(it: TaskLine) -> str:
        found = None if it.listed is None else take(it.listed)
        return ABSENT if found is None else clean(str(found))

    return text


def _dsq(it: ListedTask) -> str | None:
    return "held" if it.held else it.dsq


def _class_role(it: TaskLine) -> str:
    return "" if it.listed is None else words.CLASS_ROLES.get(it.listed.sched_class, "")


def doing(it: TaskLine) -> str:
    """Whether a task runs, waits or sleeps, as far as that is known."""
    if it.listed is not None and (it.listed.is_waiting or it.listed.on_cpu):
        return "waits" if it.listed.is_waiting else "runs"
    if it.rate is not None and it.listed is None:
        return it.rate.doing
    return "sleeps" if it.listed is not None and it.listed.state != "R" else "waits" if it.listed else ABSENT


def _state_role(it: TaskLine) -> str:
    return {"runs": "ok", "waits": "warn"}.get(doing(it), "dim")


def _share(it: TaskLine) -> str:
    return ABSENT if it.rate is None else f"{it.rate.run_share:.1%}"


COLUMNS: Final[tuple[Column[TaskLine], ...]] = (
    Column("task", 22, "left", lambda it: it.comm, lambda it: words.task(it.comm, it.pid), lambda _: "strong"),
    Column("pid", 6, "right", lambda it: it.pid, lambda it: str(it.pid)),
    Column("cpu", 4, "right", lambda it: it.cpu, lambda it: ABSENT if it.cpu is None else str(it.cpu)),
    Column("S", 2, "left", _of_list(lambda it: it.state), _word(lambda it: it.state), _state_role),
    Column("class", 5, "left", _of_list(lambda it: it.sched_class), _word(lambda it: it.sched_class), _class_role),
    Column("run", 6, "right", _rate(lambda it: it.run_share), _share),
    Column("age", 7, "right", _of_list(lambda it: None if it.age_ms is None else -it.age_ms),
           lambda it: words.milliseconds(it.listed.age_ms if it.listed else None)),
    Column("dsq", 11, "left", _of_list(_dsq), _word(_dsq)),
    Column("allowed", 7, "left", _of_list(lambda it: it.allowed), _word(lambda it: it.allowed)),
    Column("policy", 8, "left", _of_list(lambda it: it.policy), _word(lambda it: it.policy)),
    Column("p99", 8, "right", _rate(lambda it: it.waits.p99_ms), _ms(lambda it: it.waits.p99_ms)),
    Column("max", 8, "right", _rate(lambda it: it.waits.max_ms), _ms(lambda it: it.waits.max_ms)),
    Column("p50", 8, "right", _rate(lambda it: it.waits.p50_ms), _ms(lambda it: it.waits.p50_ms)),
    Column("wait", 8, "right", _rate(lambda it: it.waiting_ms), _ms(lambda it: it.waiting_ms)),
    Column("switches", 8, "right", _rate(lambda it: it.switches), _count(lambda it: it.switches)),
    Column("preempted", 9, "right", _rate(lambda it: it.preempted), _count(lambda it: it.preempted)),
    Column("wakeups", 8, "right", _rate(lambda it: it.wakeups), _count(lambda it: it.wakeups)),
    Column("migrations", 10, "right", _rate(lambda it: it.migrations), _count(lambda it: it.migrations)),
    Column("nice", 5, "right", _of_list(lambda it: it.nice), _word(lambda it: it.nice)),
)  # fmt: skip
"""``age`` is the kernel's own, exact to a tick; ``wait`` is from the trace. Both are of a wait that lasts; ``p50``,
``p99`` and ``max`` are of those that ended. Counts are of the last stretch, a second or so."""
NAMES: Final = tuple(it.name for it in COLUMNS)
MEANINGS: Final = {
    "run": "of one CPU, in the last second",
    "age": "runnable for so long now",
    "p50": "half of its waits for a CPU were as short",
    "p99": "99 of 100 of its waits were as short",
    "max": "its longest wait",
    "wait": "waiting for so long now, by the trace",
    "switches": "to it, in the last second",
    "preempted": "away from it while it was runnable",
    "wakeups": "in the last second",
    "migrations": "to another CPU, in the last second",
}
"""What columns are whose name does not say it, in the order in which they are read one below the other."""


def column(name: str) -> Column[TaskLine]:
    """The column of a name; raises ``KeyError`` when there is none."""
    return COLUMNS[NAMES.index(name)] if name in NAMES else _missing(name)


def _missing(name: str) -> Column[TaskLine]:
    raise KeyError(name)


def searchable(it: TaskLine) -> str:
    """What a filter of tasks looks at: name, pid, class, policy, state, queue, and what it does."""
    listed = it.listed
    more = (
        "" if listed is None else f"{listed.sched_class} {listed.policy} {_dsq(listed) or ''} {listed.state}"
    )
    return f"{it.comm} {it.pid} {more} {doing(it)}"
