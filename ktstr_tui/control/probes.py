"""Probes: what the loop looks at by itself, pulled on the tick in the order of installation.

One that raises, or does not answer in time, costs its own values and nothing else: the others are read, the loop
decides, and the failure is an event. A probe that blocks belongs into a thread (`InThread`). Its answer may come after
the loop has gone on, as it does on a busy host; then it is taken at a later tick. Only one that has not come back
after it was asked `STUCK_AFTER` times has failed, and while it is out there it is not asked again.

A host that gives this process no CPU for a while is no failure of a probe. So what is counted is not time that went by,
but turns of this process: a wait is made of `_TURNS` shorter ones, and one that took a second counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

import trio

from ktstr_tui.model import events as ev
from ktstr_tui.model.text import printable, shorten

Values: TypeAlias = Mapping[str, float | None]
"""What a probe read, by name; None for what could not be read."""

ANSWER_S = 0.05
"""How long the loop waits for one probe."""
STUCK_AFTER = 20
"""At how many ticks a thread may owe its answer before that is a failure."""
_TURNS = 2
"""Of the loop, in the time that it waits for one probe."""
MAX_VALUES = 512
"""Of one probe in an event."""
_REASON_CHARACTERS = 200


class Probe(Protocol):
    """Something to look at."""

    @property
    def name(self) -> str:
        """Names it on the screen."""
        ...

    @property
    def every_s(self) -> float:
        """How often it is read; 0 for at every tick."""
        ...

    async def read(self) -> Values:
        """Read it; whatever is raised counts as its failure."""
        ...


class StuckError(Exception):
    """A thread of a probe has not come back."""


class InThread:
    """A probe that reads files or blocks otherwise.

    Args:
        name: Names it.
        every_s: How often it is read.
        read: Reads; called in a thread, never twice at a time.
    """

    def __init__(self, name: str, every_s: float, read: Callable[[], Values]) -> None:
        self.name = name
        self.every_s = every_s
        self._read = read
        self.busy = False
        """Whether its thread is still out there."""
        self._answer: Values | Exception | None = None

    @property
    def owes(self) -> bool:
        """Whether an answer is on its way, or there and not taken yet."""
        return self.busy or self._answer is not None

    async def read(self) -> Values:
        """Read in a thread, or take the answer that came late; a thread is left behind when nobody waits any more."""
        if self.busy:
            raise StuckError("it is still stuck in its last reading")
        if self._answer is None:
            self.busy = True
            await trio.to_thread.run_sync(self._work, abandon_on_cancel=True)
        answer, self._answer = self._answer, None
        if isinstance(answer, Exception):
            raise answer
        return answer or {}

    def _work(self) -> None:
        try:
            self._answer = self._read()
        except Exception as error:  # it belongs to whoever takes the answer
            self._answer = error
        finally:
            self.busy = False


class Probes:
    """The probes that are installed; they may come and go at any time.

    Args:
        answer_s: How long the loop waits for one.
    """

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._installed: list[Probe] = []
        self._due_ns: dict[int, int] = {}
        self._owed: dict[int, int] = {}
        """At how many ticks in a row, by probe."""
        self._failed = 0

    def install(self, probe: Probe) -> None:
        """Read one more from the next tick on, after those that are there."""
        self._installed.append(probe)

    def clear(self, name: str | None = None) -> None:
        """Read those of a name no longer; all of them when None."""
        self._installed = [it for it in self._installed if name is not None and it.name != name]
        kept = {id(it) for it in self._installed}
        self._due_ns = {key: at for key, at in self._due_ns.items() if key in kept}
        self._owed = {key: ticks for key, ticks in self._owed.items() if key in kept}

    def names(self) -> tuple[str, ...]:
        """Names in the order of reading."""
        return tuple(it.name for it in self._installed)

    def drops(self) -> dict[str, int]:
        """Return the readings that failed."""
        return {"probes-failed": self._failed}

    async def poll(self, tick: int, now_ns: int) -> list[ev.ProbeRead | ev.ProbeFailed]:
        """Read those that are due, one after the other."""
        found: list[ev.ProbeRead | ev.ProbeFailed] = []
        for probe in tuple(self._installed):
            if self._due_ns.get(id(probe), 0) > now_ns:
                continue
            self._due_ns[id(probe)] = now_ns + round(probe.every_s * 1e9)
            event = await read_one(probe.name, probe.read, tick, self._answer_s)
            if self._may_still_answer(probe):
                self._due_ns[id(probe)] = now_ns
                continue
            found.append(event)
            self._failed += isinstance(event, ev.ProbeFailed)
        return found

    def _may_still_answer(self, probe: Probe) -> bool:
        """Whether a thread has kept its answer for a while, and not yet for too long."""
        if not isinstance(probe, InThread) or not probe.owes:
            self._owed.pop(id(probe), None)
            return False
        self._owed[id(probe)] = self._owed.get(id(probe), 0) + 1
        return self._owed[id(probe)] <= STUCK_AFTER


async def read_one(
    name: str, read: Callable[[], object], tick: int, answer_s: float
) -> ev.ProbeRead | ev.ProbeFailed:
    """Read one thing and make an event of it, whatever it does.

    Args:
        name: Of it.
        read: Gives an awaitable of `Values`.
        tick: For which it is read.
        answer_s: How long it may take.
    """
    reason = f"no answer within {answer_s * 1e3:.0f} ms"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_after, answer_s, nursery.cancel_scope)
        try:
            values: Values = await read()  # type: ignore[misc]
            return ev.ProbeRead(probe=name, tick=tick, values=_checked(values))
        except trio.Cancelled:
            raise
        except Exception as error:  # a probe may raise anything
            reason = shorten(printable(f"{type(error).__name__}: {error}"), _REASON_CHARACTERS)
        finally:
            nursery.cancel_scope.cancel()
    return ev.ProbeFailed(probe=name, tick=tick, reason=reason)


async def _cancel_after(seconds: float, scope: trio.CancelScope) -> None:
    for _ in range(_TURNS):
        await trio.sleep(seconds / _TURNS)
    scope.cancel()


def _checked(values: Values) -> dict[str, float | None]:
    checked = {str(key): None if value is None else float(value) for key, value in values.items()}
    if len(checked) > MAX_VALUES:
        raise ValueError(f"{len(checked)} values, and at most {MAX_VALUES} are taken")
    return checked
