"""What led to a wait, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ktstr_tui.model.history import NORMAL_PRIO, History, Taker, Wait
from ktstr_tui.text import words
from ktstr_tui.text.plain import clean

MAX_NAMED_CPUS: Final = 4
_IDLE_SHARE: Final = 0.9
"""Of the time since: a CPU that idled so much of it is said to have idled."""


def seconds(ms: float) -> str:
    """``-3.53 s``, with milliseconds when it is less than a tenth of a second ago."""
    return f"{ms / 1e3:.2f} s" if ms <= -100 else f"{ms:.1f} ms"


def lasted(ms: float) -> str:
    """``3.4 s``, or milliseconds when it is short."""
    if ms >= 1000:
        return f"{ms / 1e3:.1f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def sentence(history: History | None) -> str:
    """What led to the wait of the task that a capture is about; empty when none waits, or nothing was recorded."""
    wait = None if history is None else history.wait
    if wait is None:
        return ""
    return f"{_begin(wait)}; since then {_since(wait)}"


def _begin(wait: Wait) -> str:
    task = words.task(wait.comm, wait.pid)
    if wait.last_ms is not None:
        begin = f"{task} last ran on cpu {wait.last_cpu} until {seconds(wait.last_ms)}"
    else:
        begin = f"{task} did not run in what was recorded"
    if wait.how == "woken":
        begin += f", woken at {seconds(wait.since_ms)}"
    elif wait.since == "inferred":
        begin += f", runnable since {seconds(wait.since_ms)} (inferred)"
    return f"{begin}, {_place(wait)}"


def _place(wait: Wait) -> str:
    if wait.place is None:
        return "held by the BPF scheduler, in no DSQ" if wait.held else "in no DSQ"
    if wait.inserted_ms is None:
        return f"now in DSQ {clean(wait.place)}"
    return f"inserted into DSQ {clean(wait.place)} at {seconds(wait.inserted_ms)}"


def _since(wait: Wait) -> str:
    parts = [_takers(wait)]
    if wait.place is not None:
        parts.append(_left(wait))
    return ", ".join(filter(None, parts))


def _left(wait: Wait) -> str:
    dsq = f"DSQ {clean(wait.place or '')}"
    if wait.left is None:
        return ""
    mark = " (inferred)" if wait.left_seen == "inferred" else ""
    if not wait.left:
        return f"nothing left {dsq}{mark}"
    if wait.left == 1:
        return f"one other task left {dsq} at {seconds(wait.left_last_ms or 0.0)}"
    return f"{wait.left} other tasks left {dsq}, the last at {seconds(wait.left_last_ms or 0.0)}"


def _takers(wait: Wait) -> str:
    if not wait.takers:
        return "no CPU that is online may run it"
    span = -wait.since_ms
    idled = [it for it in wait.takers if it.idle_ms >= _IDLE_SHARE * span]
    busy = [it for it in wait.takers if it.idle_ms < _IDLE_SHARE * span]
    parts = []
    if idled:
        parts.append(f"cpu {_numbers(idled)} idled {lasted(min(it.idle_ms for it in idled))}")
    parts += [f"cpu {it.cpu} {_did(it)}" for it in busy[:MAX_NAMED_CPUS]]
    more = len(busy) - MAX_NAMED_CPUS
    if more > 0:
        parts.append(f"{more} more ran others")
    return ", ".join(parts)


def _numbers(takers: Sequence[Taker]) -> str:
    numbers = [str(it.cpu) for it in takers]
    if len(numbers) > MAX_NAMED_CPUS:
        return f"{', '.join(numbers[:MAX_NAMED_CPUS])} and {len(numbers) - MAX_NAMED_CPUS} more"
    return " and ".join(filter(None, (", ".join(numbers[:-1]), numbers[-1])))


def _did(it: Taker) -> str:
    parts = [
        f"{words.task(share.comm, share.pid)}{rank(share.prio)} {lasted(share.ms)}" for share in it.ran[:2]
    ]
    others_ms = it.others_ms + sum(share.ms for share in it.ran[2:])
    if others_ms >= 1:
        parts.append(f"others {lasted(others_ms)}")
    parts = [f"ran {' and '.join(parts)}"] if parts else []
    if it.idle_ms >= 1:
        parts.append(f"idled {lasted(it.idle_ms)}")
    if it.unknown_ms >= 1:
        parts.append(f"{lasted(it.unknown_ms)} are unknown")
    return " and ".join(parts) or "did nothing that was recorded"


def rank(prio: int | None) -> str:
    """What stands above every scheduler's own tasks."""
    if prio is None or prio >= NORMAL_PRIO:
        return ""
    return " (deadline)" if prio < 0 else " (rt)"
