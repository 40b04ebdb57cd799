"""Probes: what the loop looks at by itself, pulled on the tick in the order of installation.

One that raises, or does not answer in time, costs its own values and nothing else: the others are read, the loop
decides, and the failure is an event. A probe that blocks belongs into a thread (`InThread`); while one is stuck there
it is not asked again.
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
        self._busy = False

    async def read(self) -> Values:
        """Read in a thread, which is left behind when the loop gives up waiting."""
        if self._busy:
            raise StuckError("it is still stuck in its last reading")
        self._busy = True
        return await trio.to_thread.run_sync(self._and_free, abandon_on_cancel=True)

    def _and_free(self) -> Values:
        try:
            return self._read()
        finally:
            self._busy = False


class Probes:
    """The probes that are installed; they may come and go at any time.

    Args:
        answer_s: How long the loop waits for one.
    """

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._installed: list[Probe] = []
        self._due_ns: dict[int, int] = {}
        self._failed = 0

    def install(self, probe: Probe) -> None:
        """Read one more from the next tick on, after those that are there."""
        self._installed.append(probe)

    def clear(self, name: str | None = None) -> None:
        """Read those of a name no longer; all of them when None."""
        self._installed = [it for it in self._installed if name is not None and it.name != name]
        kept = {id(it) for it in self._installed}
        self._due_ns = {key: at for key, at in self._due_ns.items() if key in kept}

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
            found.append(await read_one(probe.name, probe.read, tick, self._answer_s))
            self._failed += isinstance(found[-1], ev.ProbeFailed)
        return found


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
    try:
        with trio.move_on_after(answer_s):
            values: Values = await read()  # type: ignore[misc]
            return ev.ProbeRead(probe=name, tick=tick, values=_checked(values))
    except trio.Cancelled:
        raise
    except Exception as error:  # a probe may raise anything
        reason = shorten(printable(f"{type(error).__name__}: {error}"), _REASON_CHARACTERS)
    return ev.ProbeFailed(probe=name, tick=tick, reason=reason)


def _checked(values: Values) -> dict[str, float | None]:
    checked = {str(key): None if value is None else float(value) for key, value in values.items()}
    if len(checked) > MAX_VALUES:
        raise ValueError(f"{len(checked)} values, and at most {MAX_VALUES} are taken")
    return checked
