"""Notices, on the host's clock, that the machine of a run with a seed executes nothing any more.

Whatever judges such a run goes by the guest's clock, which stands then. A machine that executes anything is held again
and again, at its stations at least, however slow the host is. So what counts is time that QEMU was given and in which
it came to no hold. A busy host gives it little, and that little is what counts:

* a thread that runs: the CPU time that it got, and nothing of its wait for a CPU;
* QEMU sleeps, or somebody has stopped it with a signal: that time;
* the machine is held, for a person, a debugger or this program; a tracer has stopped QEMU; one of its threads waits for
  a disk: nothing. Nor does what lies between two looks that are far apart: the host itself stood, or this program.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import trio

from ktstr_tui.model.events import AlertCleared, AlertRaised, Event
from ktstr_tui.model.host import HOST_ALERT_KEY

LOOK_S = 0.5
MOST_S = 2 * LOOK_S
"""Of the time between two looks, what may count."""
ALERT_S = 5.0
"""Time that counts until there is an alert."""

How: TypeAlias = Literal["stopped", "sleeps", "runs"]
HOW_WORDS: dict[How, str] = {
    "stopped": "QEMU is stopped by a signal",
    "sleeps": "QEMU sleeps",
    "runs": "QEMU uses its CPU all the same",
}


class Thread(NamedTuple):
    """A thread at one moment."""

    state: str
    """One letter, as in /proc/PID/stat."""
    ran_ns: int
    waited_ns: int
    """For a CPU, up to the last time that it got one."""


class Threads:
    """Reads the threads of a process.

    Args:
        pid: The process.
        proc: Where procfs is.
    """

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._tasks = proc / str(pid) / "task"

    def read(self) -> dict[int, Thread]:
        """All of them by their ids; none of a process that is gone."""
        found: dict[int, Thread] = {}
        with suppress(OSError):
            for task in self._tasks.iterdir():
                # One that ends meanwhile is left out, as all are where the kernel does not count.
                with suppress(OSError, ValueError, IndexError):
                    state = (task / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
                    ran, waited = (task / "schedstat").read_text("ascii").split()[:2]
                    found[int(task.name)] = Thread(state, int(ran), int(waited))
        return found


class Stuck:
    """Watches one machine.

    Args:
        read: Returns QEMU's threads.
        progress: Returns what is another value each time that the machine was held.
        held: Whether it is held now.
        emit: Takes the alert, and the word that it is over.
        limit_s: How much time may count.
    """

    def __init__(
        self,
        read: Callable[[], dict[int, Thread]],
        progress: Callable[[], object],
        held: Callable[[], bool],
        emit: Callable[[Event], object],
        limit_s: float,
    ) -> None:
        self._read, self._progress, self._held, self._emit = read, progress, held, emit
        self._limit_s = limit_s
        self._alerted = False
        self.counted_s = 0.0
        """Time in which it could have executed something, since it last did."""

    async def run(self) -> How:
        """Return when it has executed nothing for as long as is allowed, and what QEMU does instead."""
        before_s, threads, at = trio.current_time(), self._read(), self._progress()
        while True:
            await trio.sleep(LOOK_S)
            now_s, now, reached = trio.current_time(), self._read(), self._progress()
            how = _how(now)
            if reached != at or self._held():
                self._goes_on()
            elif how is not None:
                self.counted_s += _counted_s(how, min(now_s - before_s, MOST_S), threads, now)
            before_s, threads, at = now_s, now, reached
            if how is not None and self.counted_s >= self._limit_s:
                return how
            if how is not None and self.counted_s >= ALERT_S and not self._alerted:
                self._alerted = True
                text = f"the guest has executed nothing for {self.counted_s:.0f} s: {HOW_WORDS[how]}"
                self._emit(AlertRaised(key=HOST_ALERT_KEY, kind="host", severity="warning", text=text))

    def _goes_on(self) -> None:
        self.counted_s = 0.0
        if self._alerted:
            self._alerted = False
            self._emit(AlertCleared(key=HOST_ALERT_KEY, kind="host"))


def _how(threads: dict[int, Thread]) -> How | None:
    """What a process does; None where nothing can be concluded of it."""
    states = {it.state for it in threads.values()}
    if not states or states & {"t", "D", "Z", "X"}:
        return None
    if "T" in states:
        return "stopped"
    return "runs" if "R" in states else "sleeps"


def _counted_s(how: How, passed_s: float, before: dict[int, Thread], now: dict[int, Thread]) -> float:
    if how == "stopped":
        return passed_s
    both = [(before[it], now[it]) for it in now if it in before]
    if how == "runs":
        return min(passed_s, max((late.ran_ns - early.ran_ns for early, late in both), default=0) / 1e9)
    waited_ns = max((late.waited_ns - early.waited_ns for early, late in both), default=0)
    return max(0.0, passed_s - waited_ns / 1e9)
