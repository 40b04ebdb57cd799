"""What a CPU runs, in words: the task, its class, and whom it keeps from running."""

from __future__ import annotations

from ktstr_tui.model.report import SLICE_INF, RunningTask
from ktstr_tui.model.text import task_name


def running_words(it: RunningTask) -> str:
    """Name a task with its class: ``burn[9] (rt) ahead of spin-0[105] (ext, infinite slice)``."""
    told = f"{_name(it.comm, it.pid)} ({_class(it.sched_class, it.slice_ns)})"
    behind = it.ahead_of
    if behind is None:
        return told
    return f"{told} ahead of {_name(behind.comm, behind.pid)} ({_class('ext', behind.slice_ns)})"


def _name(comm: str, pid: int) -> str:
    return task_name(comm.replace("\n", " "), pid)


def _class(name: str, slice_ns: int | None) -> str:
    return f"{name}, infinite slice" if name == "ext" and slice_ns == SLICE_INF else name
